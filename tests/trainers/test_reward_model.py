"""Reward models: the pair loss, one row a pair, accumulation, learning, the zero point, reports."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import transformers as tf
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

from evalsuite.config import resolve
from evalsuite.datasets import load
from evalsuite.errors import ConfigError, DataError, ModelError, TrainingError
from evalsuite.models.checkpoints import CheckpointInfo, load_scalar, new_reward_model, save
from evalsuite.models.packing import ScalarModel
from evalsuite.models.prompts import Prompter
from evalsuite.models.rewards import EnsembleReward, ModelReward, RewardRequest
from evalsuite.records import Post
from trainers.config import EngineConfig, OptimizerConfig, SweepConfig
from trainers.engine import Engine
from trainers.reward_data import PairDataConfig
from trainers.reward_model import (
    RewardModelConfig,
    keep_best,
    pair_batches,
    pair_loss,
    sweep_reward_model,
    train_reward_model,
)
from trainers.reward_report import accuracy_in_words, closing_numbers, report
from trainers.sequences import PairExample, sft_examples

WORDS = ["one", "two", "three", "four", "five", "cat", "dog", "bird"]
VOCAB = 24
SMALL: dict[str, Callable[[], Any]] = {
    "llama": lambda: tf.LlamaConfig(
        hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=64,
    ),
    "gpt2": lambda: tf.GPT2Config(n_embd=32, n_layer=2, n_head=4, n_positions=64),
    "gpt_neox": lambda: tf.GPTNeoXConfig(
        hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        max_position_embeddings=64,
    ),
}  # fmt: skip
FAMILIES = sorted(SMALL)
CPU = EngineConfig(device="cpu")


def build_tokenizer() -> Any:
    ids = {"<eos>": 0, "[PAD]": 1, "[UNK]": 2}
    ids |= {word: i for i, word in enumerate([*WORDS, *(f" {word}" for word in WORDS)], start=3)}
    inner = Tokenizer(models.WordLevel(ids, unk_token="[UNK]"))
    inner.pre_tokenizer = pre_tokenizers.Split(Regex(r" ?\w+|[^\w]"), "isolated")
    inner.decoder = decoders.Fuse()
    return tf.PreTrainedTokenizerFast(
        tokenizer_object=inner, eos_token="<eos>", pad_token="[PAD]", unk_token="[UNK]"
    )


@pytest.fixture(scope="module")
def policies(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A tiny random policy of each family, on disk."""
    folders = {}
    for family in FAMILIES:
        config = SMALL[family]()
        for name, value in {
            "vocab_size": VOCAB, "pad_token_id": 1, "eos_token_id": 0, "bos_token_id": None,
            "initializer_range": 0.2,
        }.items():  # fmt: skip
            setattr(config, name, value)
        with torch.random.fork_rng():
            torch.manual_seed(5)
            model = tf.AutoModelForCausalLM.from_config(config)
        folders[family] = tmp_path_factory.mktemp("policies") / family
        save(folders[family], model, build_tokenizer(), CheckpointInfo())
    return folders


def rows(n: int, seed: int = 0) -> list[dict[str, Any]]:
    """Labels whose rule is: the summary with a cat is better; every eighth a tie or soft label."""
    rng = np.random.default_rng(seed)

    def words(k: int, among: Sequence[str] = tuple(WORDS)) -> list[str]:
        return [str(word) for word in rng.choice(among, k)]

    out: list[dict[str, Any]] = []
    for i in range(n):
        plain = [word for word in WORDS if word != "cat"]
        texts = [words(int(rng.integers(1, 5)), plain) for _ in range(2)]
        side = int(rng.integers(2))
        texts[side][int(rng.integers(len(texts[side])))] = "cat"
        out.append(
            {
                "left": " ".join(texts[0]), "right": " ".join(texts[1]),
                "left_policy": "a" if i % 2 else "ref", "right_policy": "b",
                "choice": ("left", "right")[side], "post": f"{' '.join(words(5))} {i}",
                "split": ("train", "train", "train", "valid1", "valid2")[i % 5],
                "strength": i % 4 + 1, "batch": f"batch{i % 3}", "labeler": f"w{i % 7}",
                "domain": "tldr",
            }
        )  # fmt: skip
    return out


def written(folder: Path, labels: Sequence[dict[str, Any]], name: str = "labels.jsonl") -> Path:
    path = folder / name
    path.write_text("".join(json.dumps(label) + "\n" for label in labels))
    return path


def config(
    model: Path, data: Path, change: dict[str, Any] | None = None, **more: Any
) -> RewardModelConfig:
    """Settings of a tiny run; `change` is of its data."""
    read: dict[str, Any] = {
        "prompt_format": "tldr_on_news", "max_prompt_tokens": 24, "max_completion_tokens": 8,
    }  # fmt: skip
    settings = PairDataConfig(paths=(str(data),), **{**read, **(change or {})})
    standard: dict[str, Any] = {
        "batch_size": 8, "engine": CPU, "evaluate_every": 50,
        "optimizer": OptimizerConfig(learning_rate=3e-3),
    }  # fmt: skip
    return RewardModelConfig(model=str(model), data=settings, **{**standard, **more})


def examples(targets: Sequence[float] = (1, 0, 0.5, 0.8, 1, 0, 1, 0)) -> list[PairExample]:
    """Pairs of unlike lengths, as tokens."""
    rng = np.random.default_rng(7)
    found = []
    for i, target in enumerate(targets):
        prompt, left, right = (rng.integers(3, VOCAB, k).tolist() for k in (3 + i, 1 + i % 4, 5))
        found.append(
            PairExample(
                str(i), Post(f"post {i}"), "train", prompt, [*left, 0], [*right, 0], target, None,
                None, None, ("a", "b"), ("x", "y"),
            )
        )  # fmt: skip
    return found


def scalar(policy: Path) -> ScalarModel:
    return ScalarModel(new_reward_model(policy, seed=1).model)


def gradients(
    policy: Path, pairs: Sequence[PairExample], *, share: bool, tokens: int = 8192
) -> tuple[float, dict[str, torch.Tensor], Any]:
    """Loss, weight changes and record of one SGD-like step, through the engine's own update."""
    engine = Engine(EngineConfig(device="cpu", micro_batch_tokens=tokens))
    trainable = engine.prepare(
        "rm", scalar(policy), OptimizerConfig(learning_rate=0.0, max_grad_norm=0.0)
    )
    kept: dict[str, torch.Tensor] = {}

    def keep(_: Any) -> float:
        kept.update({n: p.grad.clone() for n, p in trainable.plain.named_parameters()
                     if p.grad is not None})  # fmt: skip
        return 0.0

    engine.clip = keep  # type: ignore[method-assign]
    batches = pair_batches(pairs, pad_id=1, engine=engine, share=share)
    update = engine.update(
        trainable, batches, pair_loss(trainable), count=len(pairs), learning_rate=0.0
    )
    return update.sums["loss"] / len(pairs), kept, (update, len(batches))


def distance(got: dict[str, torch.Tensor], want: dict[str, torch.Tensor]) -> float:
    """Norm of the difference of two sets of gradients, over the norm of the second."""
    both = [(got[name].double(), want[name].double()) for name in want]
    difference = sum(float((a - b).pow(2).sum()) for a, b in both)
    return math.sqrt(difference / sum(float(b.pow(2).sum()) for _, b in both))


def head_at_eos(model: ScalarModel, tokens: list[int]) -> torch.Tensor:
    """The plain model's head at the last token of a row of its own, differentiable."""
    hf = model.model
    states = hf.base_model(input_ids=torch.tensor([tokens])).last_hidden_state
    reward: torch.Tensor = hf.score(states[0, -1])[0]
    return reward


@pytest.mark.parametrize("family", FAMILIES)
def test_one_row_a_pair_gives_the_gradients_of_two(family: str, policies: dict[str, Path]) -> None:
    pairs = examples()
    loss, packed, _ = gradients(policies[family], pairs, share=True)
    plain_loss, plain, _ = gradients(policies[family], pairs, share=False)
    # And by the definition: one row at a time, nothing padded.
    model = scalar(policies[family])
    total = torch.zeros(())
    for pair in pairs:
        left, right = (head_at_eos(model, [*pair.prompt, *c]) for c in (pair.left, pair.right))
        p = torch.sigmoid(right - left)
        total = total - pair.target * torch.log(p) - (1 - pair.target) * torch.log(1 - p)
    (total / len(pairs)).backward()
    named = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    assert loss == pytest.approx(total.item() / len(pairs), rel=1e-5)
    assert plain_loss == pytest.approx(loss, rel=1e-5)
    assert packed.keys() == plain.keys() == named.keys()
    assert distance(packed, plain) < 1e-5
    assert distance(packed, named) < 1e-5


def test_a_pair_is_one_row_where_prompts_are_shared() -> None:
    engine, pairs = Engine(CPU), examples()
    for share, n in ((True, 8), (False, 16)):
        (batch,) = pair_batches(pairs, pad_id=1, engine=engine, share=share)
        assert batch.rows.input_ids.shape[0] == n
        assert batch.rows.counts == (1,) * 16
        assert batch.rows.targets.tolist() == [0] * 16  # read at the EOS
    # Longest first; targets go with their pairs.
    assert batch.target.tolist() == pytest.approx([pair.target for pair in pairs[::-1]])


def test_one_batch_of_eight_is_eight_of_one(policies: dict[str, Path]) -> None:
    pairs = examples()
    loss, whole, (update, n) = gradients(policies["llama"], pairs, share=True)
    parts_loss, parts, (split, n_parts) = gradients(policies["llama"], pairs, share=True, tokens=1)
    assert (n, n_parts) == (1, 8)
    assert parts_loss == pytest.approx(loss, rel=1e-6)
    assert update.sums == pytest.approx(split.sums, rel=1e-5)
    assert whole.keys() == parts.keys()
    assert distance(parts, whole) < 1e-5


def test_loss_and_record_by_hand() -> None:
    class Said(torch.nn.Module):
        def forward(self, batch: Any) -> torch.Tensor:
            return torch.tensor([0.0, 1.0, 2.0, 0.0, 1.0, 1.0, 3.0, 1.0])

    class Holder:
        module = Said()

    batch: Any = type("B", (), {"rows": None, "target": torch.tensor([1.0, 0.0, 1.0, 0.5])})
    holder: Any = Holder()
    total, sums = pair_loss(holder)(batch)
    # log(1 + e^-1), log(1 + e^-2), log 2, and for the tie half of log(1 + e^2) + log(1 + e^-2).
    want = [math.log1p(math.exp(-1)), math.log1p(math.exp(-2)), math.log(2)]
    want.append((math.log1p(math.exp(2)) + math.log1p(math.exp(-2))) / 2)
    assert float(total) == pytest.approx(sum(want), rel=1e-6)
    # Right, right, even: 2.5 of 3; the tie has no right side. Margins 1 + 2 + 0.
    assert {k: float(v) for k, v in sums.items()} == pytest.approx(
        {"loss": sum(want), "right": 2.5, "margin": 3.0, "decided": 3.0, "reward": 4.5}
    )


@pytest.fixture(scope="module")
def trained(
    policies: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, RewardModelConfig, Path]:
    """Folder, settings and data of a model that learned that cats are good."""
    folder = tmp_path_factory.mktemp("learned")
    data = written(folder, rows(600))
    settings = config(policies["llama"], data, epochs=3.0, batch_size=16)
    train_reward_model(settings, folder / "run")
    return folder / "run", settings, data


def test_it_learns_a_rule(trained: tuple[Path, RewardModelConfig, Path]) -> None:
    folder, _, _ = trained
    table = pd.read_csv(folder / "accuracy.csv")
    every = table[(table["split"] == "all") & (table["by"] == "all")].set_index("quantity")
    assert every.loc["accuracy", "value"] > 0.95
    assert every.loc["accuracy", "n"] == 240
    assert every.loc["difference", "low"] > 0.2
    metrics = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert metrics[0]["loss"] == pytest.approx(math.log(2), abs=0.5)
    assert metrics[-1]["validation_accuracy"] > 0.95
    assert metrics[-1]["loss"] < 0.3


def test_pairs_hold_what_the_table_is_made_of(
    trained: tuple[Path, RewardModelConfig, Path],
) -> None:
    folder, _, data = trained
    pairs = pd.read_parquet(folder / "pairs.parquet")
    assert set(pairs["split"]) == {"valid1", "valid2"}
    table = pd.read_csv(folder / "accuracy.csv")
    pd.testing.assert_frame_equal(report(pairs), table, check_dtype=False)
    assert set(table["by"]) == {"all", "policy pair", "batch", "strength", "domain", "labeler"}
    assert set(table.loc[table["by"] == "policy pair", "slice"]) == {
        "a | b", "b | reference_summary",
    }  # fmt: skip
    # By hand from the labels: which side has the cat.
    labels = load(data).sides(["text"]).set_index("comparison_id").loc[pairs["comparison_id"]]
    cat = labels["right_text"].str.contains("cat").to_numpy()
    right = (pairs["right_reward"] > pairs["left_reward"]).to_numpy()
    accuracy = table[(table["split"] == "all") & (table["by"] == "all")].iloc[0]
    assert accuracy["value"] == pytest.approx((right == cat).mean())


def test_references_have_mean_reward_zero_and_the_shift_is_stored(
    trained: tuple[Path, RewardModelConfig, Path],
) -> None:
    folder, _, data = trained
    shift = json.loads((folder / "model" / "config.json").read_text())["reward_shift"]
    record = json.loads((folder / "model" / "evalsuite.json").read_text())
    closing = json.loads((folder / "finished.json").read_text())
    assert shift == record["reward_shift"] == closing["reward_shift"] != 0
    tables = load(data)
    loaded = load_scalar(folder / "model")
    prompter = Prompter(loaded.tokenizer, loaded.info.prompt_format or "")
    references = sft_examples(tables, prompter).of("train")
    assert closing["references"] == len(references) > 100
    reward = ModelReward.load(folder / "model")
    assert reward.shift == shift
    requests = [RewardRequest(one.post, one.reference) for one in references]
    assert abs(reward(requests).mean()) < 1e-5
    plain = ScalarModel(loaded.model)
    with torch.no_grad():
        one = references[0]
        head = float(head_at_eos(plain, [*one.prompt, *one.completion]))
    assert reward(requests[:1])[0] == pytest.approx(head - shift, abs=1e-5)
    # The rewards in the report are shifted, too.
    pairs = pd.read_parquet(folder / "pairs.parquet").iloc[0]
    texts = tables.summaries.set_index("summary_id")["text"]
    row = tables.comparisons.set_index("comparison_id").loc[pairs["comparison_id"]]
    post = tables.posts.set_index("post_id").loc[row["post_id"]]
    got = reward([RewardRequest(Post(post["text"]), texts[row["left_id"]])])
    assert got[0] == pytest.approx(pairs["left_reward"], abs=1e-5)


def test_the_record_says_where_it_came_from(
    trained: tuple[Path, RewardModelConfig, Path],
) -> None:
    folder, _, _ = trained
    record = json.loads((folder / "model" / "evalsuite.json").read_text())
    assert record["kind"] == "reward"
    assert "/llama sha256:" in record["parent"]
    assert record["data"][0]["name"] == "labels.jsonl"
    [path] = record["config"]["data"]["paths"]
    assert path.endswith("/labels.jsonl")
    assert path.count("/") == 1  # of an absolute path the last two parts
    assert record["prompt_format"]["max_completion_tokens"] == 8
    assert record["metrics"]["validation_accuracy"] > 0.9
    assert str(folder.parent) not in json.dumps(record)


def test_a_run_in_use_is_refused_and_a_finished_one_returns(
    trained: tuple[Path, RewardModelConfig, Path],
) -> None:
    folder, settings, _ = trained
    with pytest.raises(TrainingError, match="holds a run already"):
        train_reward_model(settings, folder)
    before = (folder / "model" / "evalsuite.json").stat().st_mtime_ns
    assert train_reward_model(settings, folder, resume=True) == folder / "model"
    assert (folder / "model" / "evalsuite.json").stat().st_mtime_ns == before


def test_seeds_are_all_kept_and_the_best_is_copied(
    policies: dict[str, Path], tmp_path: Path
) -> None:
    data = written(tmp_path, rows(60))
    settings = config(policies["gpt2"], data, seeds=(3, 4), select_on="high_confidence")
    model = train_reward_model(settings, tmp_path / "run")
    table = pd.read_csv(tmp_path / "run" / "seeds.csv").set_index("seed")
    best = int(table.index[table["best"]][0])
    assert table["high_confidence_accuracy"].idxmax() == best or (
        table["high_confidence_accuracy"].nunique() == 1
    )
    read = {
        seed: (tmp_path / "run" / f"seed-{seed}" / "model" / "model.safetensors").read_bytes()
        for seed in (3, 4)
    }
    assert read[3] != read[4]
    assert (model / "model.safetensors").read_bytes() == read[best]
    both = [ModelReward.load(tmp_path / "run" / f"seed-{seed}" / "model") for seed in (3, 4)]
    post = RewardRequest(Post("one two"), "cat")
    rewards = [member([post])[0] for member in both]
    assert EnsembleReward(both)([post])[0] == pytest.approx(np.mean(rewards))
    # Killed before it was through: what is finished is not done again.
    (tmp_path / "run" / "finished.json").unlink()
    (model / "model.safetensors").unlink()
    assert train_reward_model(settings, tmp_path / "run", resume=True) == model
    assert (model / "model.safetensors").read_bytes() == read[best]


def test_the_best_seed_by_hand(tmp_path: Path) -> None:
    for seed, (every, sure, loss) in {
        1: (0.6, 0.9, 0.5), 2: (0.8, 0.7, 0.6), 3: (0.8, None, 0.4),
    }.items():  # fmt: skip
        folder = tmp_path / f"seed-{seed}"
        (folder / "model").mkdir(parents=True)
        (folder / "model" / "name").write_text(str(seed))
        for name in ("accuracy.csv", "pairs.parquet"):
            (folder / name).write_text(f"{name} {seed}")
        closing = {
            "validation_accuracy": every, "high_confidence_accuracy": sure,
            "validation_loss": loss, "seconds": 1.0,
        }  # fmt: skip
        (folder / "finished.json").write_text(json.dumps(closing))
    settings = RewardModelConfig(seeds=(1, 2, 3))
    # 2 and 3 agree with as many labels; 3 has the lower loss.
    assert (keep_best(settings, tmp_path) / "name").read_text() == "3"
    assert json.loads((tmp_path / "finished.json").read_text())["seed"] == 3
    assert (tmp_path / "accuracy.csv").read_text() == "accuracy.csv 3"
    assert (tmp_path / "pairs.parquet").read_text() == "pairs.parquet 3"
    sure = replace(settings, select_on="high_confidence")
    assert (keep_best(sure, tmp_path) / "name").read_text() == "1"


def test_closing_numbers_and_words_by_hand() -> None:
    table = pd.DataFrame(
        {
            "post_id": list("abcde"), "split": "valid1", "choice": [1, 0, 1, 0.5, 0.25],
            "left_reward": [0.0, 1, 0, 0, 0], "right_reward": [2.0, 0, -1, 1, 0],
            "left_chars": [3, 3, 3, 3, 3], "right_chars": [4, 4, 4, 4, 4],
            "policy pair": "a | b", "batch": None, "strength": 1, "domain": "tldr",
            "labeler": "w",
        }
    )  # fmt: skip
    found = closing_numbers(table)
    # Right, right, wrong, tie, even.
    assert found["accuracy"] == pytest.approx(2.5 / 4)
    assert found["n"] == 4
    assert found["margin"] == pytest.approx((2 + 1 - 1 + 0) / 4)
    losses = [
        math.log1p(math.exp(-2)), math.log1p(math.exp(-1)), math.log1p(math.exp(1)),
        (math.log1p(math.exp(1)) + math.log1p(math.exp(-1))) / 2, math.log(2),
    ]  # fmt: skip
    assert found["loss"] == pytest.approx(np.mean(losses))
    said = accuracy_in_words(report(table), "all")
    # Longer is right where the right side won: 2 of 4.
    assert said.startswith("all: accuracy 0.625 [nan, nan] on 4 labels of 4 posts; longer is bet")
    assert "difference +0.125" in said
    assert math.isnan(closing_numbers(table.iloc[:0])["accuracy"])


def test_ties_alone_can_be_trained_on(policies: dict[str, Path], tmp_path: Path) -> None:
    labels = [{**row, "choice": "tie"} for row in rows(20)]
    settings = config(policies["gpt_neox"], written(tmp_path, labels), batch_size=12)
    train_reward_model(settings, tmp_path / "run")
    metrics = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[0])
    assert metrics["accuracy"] is None
    assert metrics["loss"] >= math.log(2) - 1e-6
    table = pd.read_csv(tmp_path / "run" / "accuracy.csv")
    assert (table["n_ties"] > 0).all()
    assert table["value"].isna().all()


def test_data_without_references_keep_their_zero(policies: dict[str, Path], tmp_path: Path) -> None:
    labels = [{**row, "left_policy": "a"} for row in rows(20)]
    train_reward_model(config(policies["llama"], written(tmp_path, labels)), tmp_path / "run")
    closing = json.loads((tmp_path / "run" / "finished.json").read_text())
    assert (closing["references"], closing["reward_shift"]) == (0, 0.0)


def test_what_can_be_known_is_refused_before_work(
    policies: dict[str, Path], tmp_path: Path
) -> None:
    policy, data = policies["llama"], written(tmp_path, rows(40))
    settings, run = config(policy, data), tmp_path / "run"
    with pytest.raises(ConfigError, match="model is empty; allowed the folder of an SFT check"):
        train_reward_model(replace(settings, model=""), run)
    with pytest.raises(ConfigError, match=r"data.paths is empty; allowed files or folders"):
        train_reward_model(replace(settings, data=PairDataConfig()), run)
    with pytest.raises(DataError, match=r"no pair of split dev; allowed train \(24\), valid1 "):
        train_reward_model(config(policy, data, {"validation_splits": ("dev",)}), run)
    with pytest.raises(ModelError, match="prompt and completion take up to 68 tokens; allowed 64"):
        train_reward_model(config(policy, data, {"max_prompt_tokens": 60}), run)
    vague = written(tmp_path, [{**row, "strength": 1} for row in rows(40)], "vague.jsonl")
    with pytest.raises(DataError, match="no validation label has strength 3 or more; allowed va"):
        train_reward_model(config(policy, vague, select_on="high_confidence"), run)
    assert not (run / "metrics.jsonl").exists()


@pytest.mark.parametrize(
    "name", ["world/rm", "smollm2/rm", "smollm2/rm-cpu", "paper/rm-1.3b", "paper/rm-6.7b"]
)
def test_named_settings_can_be_read(name: str) -> None:
    file = Path(__file__).resolve().parents[2] / "configs" / f"{name}.yaml"
    found = resolve(RewardModelConfig, file=file)
    assert found.data.prompt_format == "tldr_reward"
    assert found.data.max_completion_tokens in (None, 64)
    assert found.optimizer.eps == 1e-5


def test_a_sweep_keeps_the_most_accurate_rate(policies: dict[str, Path], tmp_path: Path) -> None:
    settings = config(
        policies["gpt_neox"], written(tmp_path, rows(120)), batch_size=16, epochs=2.0,
        sweep=SweepConfig(low=1e-9, high=3e-3, count=2),
    )  # fmt: skip
    sweep_reward_model(settings, tmp_path / "run")
    table = pd.read_csv(tmp_path / "run" / "sweep.csv").set_index("run")
    assert (
        table.loc["sweep-01", "validation_accuracy"] > table.loc["sweep-00", "validation_accuracy"]
    )
    assert bool(table.loc["sweep-01", "best"])
    both = [tmp_path / "run" / f / "model" / "model.safetensors" for f in ("", "sweep-01")]
    assert both[0].read_bytes() == both[1].read_bytes()


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"batch_size is 0; allowed 1 or more"):
        RewardModelConfig(batch_size=0)
    with pytest.raises(ConfigError, match=r"high_confidence is 5; allowed 1 to 4"):
        RewardModelConfig(high_confidence=5)
    with pytest.raises(ConfigError, match=r"seeds are \[1, 1\]; allowed each once"):
        RewardModelConfig(seeds=(1, 1))


def test_news_posts_have_their_own_prompts(policies: dict[str, Path], tmp_path: Path) -> None:
    labels = [{**row, "domain": "cnndm" if i % 2 else "tldr"} for i, row in enumerate(rows(40))]
    settings = config(
        policies["llama"], written(tmp_path, labels),
        {"prompt_format": "cnndm", "max_prompt_tokens": 40},
    )  # fmt: skip
    train_reward_model(settings, tmp_path / "run")
    record = json.loads((tmp_path / "run" / "model" / "evalsuite.json").read_text())
    assert record["prompt_format"]["template"].startswith("Article:")
    other = record["more"]["domain_formats"]
    assert other["cnndm"]["template"] == "{text}\n\nTL;DR:"
    assert other["cnndm"]["max_completion_tokens"] == 8
    reward = ModelReward.load(tmp_path / "run" / "model")
    assert reward.domains["cnndm"].format.template == "{text}\n\nTL;DR:"
    pairs = pd.read_parquet(tmp_path / "run" / "pairs.parquet")
    assert set(pairs["domain"]) == {"tldr", "cnndm"}


def test_other_labels_are_only_reported(policies: dict[str, Path], tmp_path: Path) -> None:
    labels = rows(40)
    data = written(tmp_path, labels)
    turned = [
        {**row, "choice": "left" if row["choice"] == "right" else "right", "labeler": "truth"}
        for row in labels
    ]
    truth = written(tmp_path, turned, "truth.jsonl")
    plain, both = tmp_path / "plain", tmp_path / "both"
    train_reward_model(config(policies["llama"], data), plain)
    train_reward_model(config(policies["llama"], data, {"report_paths": (str(truth),)}), both)
    weights = [folder / "model" / "model.safetensors" for folder in (plain, both)]
    assert weights[0].read_bytes() == weights[1].read_bytes()
    pairs = pd.read_parquet(both / "pairs.parquet")
    # Of 40 labels 24 are of training posts: those posts are left out of the truth, too.
    assert pairs["split"].value_counts().to_dict() == {"truth": 16, "valid1": 8, "valid2": 8}
    table = pd.read_csv(both / "accuracy.csv")
    value = table[(table["by"] == "all") & (table["quantity"] == "accuracy")]
    value = value.set_index("split")["value"]
    assert value["truth"] == pytest.approx(1 - value["all"])
    assert list(value.index) == ["valid1", "valid2", "all", "truth"]
    assert (
        table[table["split"] != "truth"]
        .reset_index(drop=True)
        .equals(pd.read_csv(plain / "accuracy.csv"))
    )
    seen = written(tmp_path, [row for row in labels if row["split"] == "train"], "seen.jsonl")
    with pytest.raises(DataError, match=r"data.report_paths: seen has no post that is not trained"):
        train_reward_model(
            config(policies["llama"], data, {"report_paths": (str(seen),)}), tmp_path / "seen"
        )
