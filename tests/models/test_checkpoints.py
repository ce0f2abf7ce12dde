"""Checkpoints: what a load guarantees, what is refused, and that a save is whole or nothing."""

from __future__ import annotations

import errno
import json
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from evalsuite.errors import ModelError
from evalsuite.models import checkpoints
from evalsuite.models.checkpoints import (
    CheckpointInfo,
    Loaded,
    load_policy,
    load_scalar,
    new_reward_model,
    save,
)

FAMILIES = ("llama", "gpt2", "gpt_neox")
Make = Callable[..., Path]
Tiny = tuple[Callable[..., Any], Callable[..., Any]]
ROWS = torch.tensor([[1, 5, 9, 2, 7, 95], [3, 3, 8, 4, 11, 95]])

PLAIN_LOAD = """
import json, pathlib, sys
import torch, transformers
rows = torch.tensor([[1, 5, 9, 2, 7, 95], [3, 3, 8, 4, 11, 95]])
told = {}
for folder in sorted(pathlib.Path(sys.argv[1]).iterdir()):
    scalar = folder.name.startswith("rm")
    auto = "AutoModelForSequenceClassification" if scalar else "AutoModelForCausalLM"
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = getattr(transformers, auto).from_pretrained(folder).eval()
    torch.save(model(rows).logits.detach(), folder / "plain.pt")
    told[folder.name] = [tokenizer.pad_token, tokenizer.pad_token_id, model.config.pad_token_id,
                         getattr(model.config, "reward_shift", None)]
assert not [name for name in sys.modules if name.split(".")[0] in ("evalsuite", "trainers")]
print(json.dumps(told))
"""


def logits(loaded: Loaded) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = loaded.model(ROWS).logits
    return found


@pytest.mark.parametrize("family", FAMILIES)
def test_policy_through_a_save(
    family: str, folder_of_model: Make, tiny: Tiny, tmp_path: Path
) -> None:
    original = tiny[0](family)  # the same seed, so the same weights as on file
    loaded = load_policy(folder_of_model(family))
    assert loaded.model.config._attn_implementation == "sdpa"
    assert not loaded.model.training
    assert {p.dtype for p in loaded.model.parameters()} == {torch.float32}
    pad = loaded.tokenizer.pad_token_id
    assert pad != loaded.tokenizer.eos_token_id == 95
    assert loaded.model.config.pad_token_id == loaded.model.generation_config.pad_token_id == pad
    with torch.no_grad():  # the pad's new row changes no other logit
        assert torch.equal(logits(loaded)[..., :97], original(ROWS).logits)

    out = tmp_path / "runs" / "policy"
    info = CheckpointInfo(config={"lr": 1e-5}, seed=3, metrics={"loss": 1.5}, step=7)
    written = save(out, loaded.model, loaded.tokenizer, info)
    again = load_policy(out)
    assert torch.equal(logits(again), logits(loaded))
    assert again.info == written
    assert written.replace(weights_sha256=None) == info
    assert again.name == "runs/policy"
    names = sorted(p.name for p in out.iterdir())
    assert not [name for name in names if name.endswith((".bin", ".pt", ".py"))]
    assert {"config.json", "evalsuite.json", "model.safetensors", "tokenizer.json"} < set(names)
    assert [p.name for p in out.parent.iterdir()] == ["policy"]  # nothing temporary is left


def test_a_process_that_knows_transformers_alone(folder_of_model: Make, tmp_path: Path) -> None:
    """Policies give it the same logits; reward models the same rewards before the shift."""
    expected, pads = {}, {}
    for family in FAMILIES:
        policy = load_policy(folder_of_model(family))
        save(tmp_path / "out" / family, policy.model, policy.tokenizer, policy.info)
        made = new_reward_model(tmp_path / "out" / family, seed=4)
        info = made.info.replace(reward_shift=-1.75)
        save(tmp_path / "out" / f"rm_{family}", made.model, made.tokenizer, info)
        here = load_scalar(tmp_path / "out" / f"rm_{family}")
        assert (here.info.kind, here.info.reward_shift) == ("reward", -1.75)
        expected |= {family: logits(policy), f"rm_{family}": logits(here)}
        assert torch.equal(logits(here), logits(made))
        pads[family] = policy.tokenizer.pad_token_id
    done = subprocess.run(
        [sys.executable, "-c", PLAIN_LOAD, str(tmp_path / "out")],
        capture_output=True, text=True, timeout=300, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told.keys() == expected.keys()
    for name, (word, token, config_pad, shift) in told.items():
        assert torch.equal(torch.load(tmp_path / "out" / name / "plain.pt"), expected[name])
        pad = pads[name.removeprefix("rm_")]
        assert (word, token, config_pad) == ("[PAD]", pad, pad)
        assert shift == (-1.75 if name.startswith("rm_") else None)
        assert expected[name].shape == ((2, 1) if shift else (2, 6, 98))


@pytest.mark.parametrize("family", FAMILIES)
def test_new_reward_model_has_the_policys_backbone(
    family: str, folder_of_model: Make, tmp_path: Path
) -> None:
    policy = load_policy(folder_of_model(family))
    save(tmp_path / "sft", policy.model, policy.tokenizer, CheckpointInfo(prompt_format={"a": 1}))
    made = new_reward_model(tmp_path / "sft", seed=0)
    before = policy.model.base_model.state_dict()
    after = made.model.base_model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert made.model.score.weight.shape == (1, 32)
    assert made.model.score.bias is None
    assert made.model.config.num_labels == 1
    digest = load_policy(tmp_path / "sft").info.weights_sha256
    assert digest is not None
    assert made.info.parent is not None
    assert made.info.parent.endswith(f"/sft sha256:{digest[:16]}")
    assert made.info.ancestors == [made.info.parent]
    assert (made.info.kind, made.info.seed) == ("reward", 0)
    assert made.info.prompt_format == {"a": 1}


def test_head_is_normal_with_variance_one_over_d_plus_one(folder_of_model: Make) -> None:
    """d = 32, so z = w sqrt(33) is standard normal. Over 20 seeds n = 640 numbers: the mean has
    standard error 1/sqrt(n) = .040, the variance sqrt(2/n) = .056, the fourth moment (3 for a
    normal law, 1.8 for a uniform one) sqrt(96/n) = .39; three of each are allowed."""
    folder = folder_of_model("llama")
    heads = [new_reward_model(folder, seed=seed).model.score.weight for seed in range(20)]
    z = torch.cat(heads).flatten().double() * 33**0.5
    assert z.numel() == 640
    assert abs(z.mean().item()) < 0.12
    assert abs(z.var().item() - 1) < 0.17
    assert abs((z**4).mean().item() - 3) < 1.17
    again = new_reward_model(folder, seed=1).model.score.weight
    assert torch.equal(again, heads[1])
    assert not torch.equal(again, heads[2])


def test_no_load_moves_torchs_global_generator(folder_of_model: Make, tmp_path: Path) -> None:
    folder = folder_of_model("llama")
    before = torch.get_rng_state()
    made = new_reward_model(folder, seed=0)
    save(tmp_path / "rm", made.model, made.tokenizer, made.info)
    load_scalar(tmp_path / "rm")
    load_policy(folder)
    assert torch.equal(torch.get_rng_state(), before)


def test_dropout_is_off_in_training_mode_and_in_the_saved_file(
    folder_of_model: Make, tmp_path: Path
) -> None:
    folder = folder_of_model("gpt2", resid_pdrop=0.1, embd_pdrop=0.1, attn_pdrop=0.1)
    loaded = load_policy(folder)
    evaluated = logits(loaded)
    loaded.model.train()
    assert torch.equal(logits(loaded), evaluated)
    save(tmp_path / "out", loaded.model, loaded.tokenizer, loaded.info)
    told = json.loads((tmp_path / "out" / "config.json").read_text("utf-8"))
    assert {k: v for k, v in told.items() if k.endswith("pdrop")} == {
        "resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0,
    }  # fmt: skip


def test_rotary_base_is_on_file_for_readers_of_version_4(
    folder_of_model: Make, tmp_path: Path
) -> None:
    """transformers 4 knows rope_theta and rotary_pct alone, and took its defaults instead."""
    rope = {"rope_type": "default", "rope_theta": 500.0, "partial_rotary_factor": 0.5}
    loaded = load_policy(folder_of_model("gpt_neox", rope_parameters=rope))
    save(tmp_path / "out", loaded.model, loaded.tokenizer, loaded.info)
    told = json.loads((tmp_path / "out" / "config.json").read_text("utf-8"))
    assert (told["rope_theta"], told["rotary_emb_base"], told["rotary_pct"]) == (500.0, 500.0, 0.5)
    words = json.loads((tmp_path / "out" / "tokenizer_config.json").read_text("utf-8"))
    assert words["tokenizer_class"] == "PreTrainedTokenizerFast"
    assert "is_local" not in words
    assert torch.equal(logits(load_policy(tmp_path / "out")), logits(loaded))


def test_gathered_tensors_are_what_is_saved(folder_of_model: Make, tmp_path: Path) -> None:
    """A state dict gathered from several processes shares no memory between tied weights."""
    loaded = load_policy(folder_of_model("llama", tie_word_embeddings=True))
    gathered = {key: value.clone() * 2 for key, value in loaded.model.state_dict().items()}
    save(tmp_path / "out", loaded.model, loaded.tokenizer, loaded.info, state_dict=gathered)
    again = load_policy(tmp_path / "out").model.state_dict()
    assert again.keys() == gathered.keys()
    assert all(torch.equal(again[key], gathered[key]) for key in gathered)


def _encoder(kind: str, labels: int) -> Any:
    sizes: dict[str, Any] = {
        "vocab_size": 97, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
        "intermediate_size": 64, "max_position_embeddings": 64, "num_labels": labels,
    }  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        if kind == "bert":
            return transformers.BertForSequenceClassification(transformers.BertConfig(**sizes))
        if kind == "roberta":
            config = transformers.RobertaConfig(**sizes, pad_token_id=1)
            return transformers.RobertaForSequenceClassification(config)
        deberta = transformers.DebertaV2Config(**sizes, relative_attention=True)
        return transformers.DebertaV2ForSequenceClassification(deberta)


@pytest.mark.parametrize(
    ("kind", "attn"), [("bert", "sdpa"), ("roberta", "sdpa"), ("deberta", "eager")]
)
def test_reward_models_of_others(kind: str, attn: str, tiny: Tiny, tmp_path: Path) -> None:
    """Encoders with a pooled head: no EOS is asked of them, and a kernel they have is taken."""
    model = _encoder(kind, 1).eval()
    model.save_pretrained(tmp_path / kind)
    tiny[1](pad_token="w0", eos_token=None).save_pretrained(tmp_path / kind)
    loaded = load_scalar(tmp_path / kind)
    with torch.no_grad():
        torch.testing.assert_close(logits(loaded), model(ROWS).logits, rtol=1e-5, atol=1e-6)
    assert loaded.info == CheckpointInfo(kind="reward")
    assert loaded.model.config._attn_implementation == attn
    assert loaded.tokenizer.pad_token == "w0"


def test_shift_of_config_json_counts_without_a_record(folder_of_model: Make) -> None:
    folder = folder_of_model("llama", head="scalar", num_labels=1, reward_shift=2.5)
    assert load_scalar(folder).info.reward_shift == 2.5


# What is refused


def test_a_policy_is_no_reward_model(folder_of_model: Make) -> None:
    with pytest.raises(
        ModelError, match="is a LlamaForCausalLM, which has no reward head; allowed"
    ):
        load_scalar(folder_of_model("llama"))


def test_missing_head_is_an_error_not_a_warning(folder_of_model: Make) -> None:
    """A policy's weights under a reward model's configuration: the head would be drawn anew."""
    folder = folder_of_model("gpt2", num_labels=1)
    config = json.loads((folder / "config.json").read_text("utf-8"))
    config["architectures"] = ["GPT2ForSequenceClassification"]
    (folder / "config.json").write_text(json.dumps(config), "utf-8")
    with pytest.raises(ModelError, match=r"gpt2: the weights of score.weight are not in the"):
        load_scalar(folder)


def test_several_outputs_are_refused(folder_of_model: Make) -> None:
    with pytest.raises(ModelError, match=r"its head has 3 outputs; allowed 1 \(a reward\)"):
        load_scalar(folder_of_model("llama", head="scalar", num_labels=3))


def test_a_reward_model_is_no_policy(folder_of_model: Make, tmp_path: Path) -> None:
    made = new_reward_model(folder_of_model("llama", tie_word_embeddings=True), seed=0)
    save(tmp_path / "rm", made.model, made.tokenizer, made.info)
    said = r"rm: is a reward model \(LlamaForSequenceClassification\); allowed a policy"
    with pytest.raises(ModelError, match=said):
        load_policy(tmp_path / "rm")
    with pytest.raises(ModelError, match="is a reward model already; allowed a policy"):
        new_reward_model(tmp_path / "rm", seed=0)


def test_a_policy_without_some_weights(folder_of_model: Make) -> None:
    from safetensors.torch import load_file, save_file

    folder = folder_of_model("llama")
    file = folder / "model.safetensors"
    kept = {k: v for k, v in load_file(file).items() if "layers.1" not in k}
    save_file(kept, file, metadata={"format": "pt"})
    said = r"llama: the weights of model.layers.1.*, .*, .* and 6 more are not in the checkpoint"
    with pytest.raises(ModelError, match=said):
        load_policy(folder)


def test_code_in_a_checkpoint_is_never_run(folder_of_model: Make) -> None:
    folder = folder_of_model("llama")
    (folder / "modeling_own.py").write_text("raise SystemExit('ran')", "utf-8")
    config = json.loads((folder / "config.json").read_text("utf-8"))
    code = {"AutoConfig": "modeling_own.Config", "AutoModelForCausalLM": "modeling_own.Model"}
    (folder / "config.json").write_text(json.dumps(config | {"auto_map": code}), "utf-8")
    load_policy(folder)  # a known family: transformers' own class, the file untouched
    config |= {"auto_map": code, "model_type": "own"}
    (folder / "config.json").write_text(json.dumps(config), "utf-8")
    said = r"model type 'own' is not one that transformers [\d.]+ knows; code in a checkpoint is"
    with pytest.raises(ModelError, match=said):
        load_policy(folder)


def test_families_without_the_head_asked_for(tiny: Tiny, tmp_path: Path) -> None:
    """T5 is no causal language model; BERT's head is called otherwise and has a bias."""
    config = transformers.T5Config(vocab_size=97, d_model=32, num_layers=1, num_heads=2)
    config.save_pretrained(tmp_path / "t5")
    (tmp_path / "t5" / "model.safetensors").touch()
    with pytest.raises(ModelError, match="the family 't5' cannot be a causal language model"):
        load_policy(tmp_path / "t5")
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4}
    bert = transformers.BertConfig(vocab_size=97, intermediate_size=64, is_decoder=True, **sizes)
    with torch.random.fork_rng(devices=[]):
        transformers.BertLMHeadModel(bert).save_pretrained(tmp_path / "bert")
    tiny[1]().save_pretrained(tmp_path / "bert")
    said = "BertForSequenceClassification has no linear head `score`; allowed decoder families"
    with pytest.raises(ModelError, match=said):
        new_reward_model(tmp_path / "bert", seed=0)


def test_damaged_weights_and_tokenizers(folder_of_model: Make, tiny: Tiny) -> None:
    folder = folder_of_model("llama")
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[:-100])
    with pytest.raises(ModelError, match=r"llama: cannot be loaded \(.+\)"):
        load_policy(folder)
    (folder / "model.safetensors").write_bytes(whole)
    tiny[1](eos_token=None).save_pretrained(folder)
    with pytest.raises(ModelError, match="its tokenizer has no end-of-sequence token"):
        load_policy(folder)
    (folder / "tokenizer.json").write_text("{", "utf-8")
    with pytest.raises(ModelError, match=r"llama: its tokenizer cannot be read \(.+\)"):
        load_policy(folder)


def test_a_folder_without_a_tokenizer(folder_of_model: Make) -> None:
    folder = folder_of_model("llama")
    for file in folder.glob("tokenizer*"):
        file.unlink()
    with pytest.raises(ModelError, match="llama: its tokenizer"):
        load_policy(folder)


# A save is whole or nothing


def _saved(folder_of_model: Make, tmp_path: Path) -> tuple[Loaded, Path, dict[str, bytes]]:
    loaded, target = load_policy(folder_of_model("llama")), tmp_path / "out" / "model"
    save(target, loaded.model, loaded.tokenizer, loaded.info)
    with torch.no_grad():
        loaded.model.lm_head.weight.mul_(2)
    return loaded, target, {p.name: p.read_bytes() for p in target.iterdir()}


@pytest.mark.parametrize("place", ["model", "tokenizer", "record"])
def test_a_full_disk_leaves_the_previous_folder(
    place: str, folder_of_model: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded, target, before = _saved(folder_of_model, tmp_path)

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        if place == "model":
            patched.setattr(loaded.model, "save_pretrained", full)
        elif place == "tokenizer":
            patched.setattr(loaded.tokenizer, "save_pretrained", full)
        else:
            patched.setattr(checkpoints, "write_info", full)
        said = r"cannot be written \(No space left on device\); what was there before is still in"
        with pytest.raises(ModelError, match=said):
            save(target, loaded.model, loaded.tokenizer, loaded.info)
    assert {p.name: p.read_bytes() for p in target.iterdir()} == before
    assert [p.name for p in target.parent.iterdir()] == ["model"]
    save(target, loaded.model, loaded.tokenizer, loaded.info)  # room again
    assert torch.equal(load_policy(target).model.lm_head.weight, loaded.model.lm_head.weight)


def test_weights_that_the_system_refuses_to_write(folder_of_model: Make, tmp_path: Path) -> None:
    """The error comes out of the safetensors library itself here, not out of Python."""
    loaded, target, before = _saved(folder_of_model, tmp_path)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))  # larger files cannot be written
    try:
        with pytest.raises(ModelError, match=r"the checkpoint cannot be written \(.+\); what was"):
            save(target, loaded.model, loaded.tokenizer, loaded.info)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert {p.name: p.read_bytes() for p in target.iterdir()} == before
    assert [p.name for p in target.parent.iterdir()] == ["model"]


def test_a_save_cut_off_between_its_renames_is_mended(
    folder_of_model: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded, target, before = _saved(folder_of_model, tmp_path)
    target.rename(target.with_name(".model.previous"))  # as a kill at that moment leaves it
    target.with_name(".model.writing").mkdir()
    with pytest.raises(
        ModelError, match=r"no such folder; a save that was cut off left .*previous"
    ):
        load_policy(target)

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(loaded.model, "save_pretrained", full)
        with pytest.raises(ModelError, match="still in place"):
            save(target, loaded.model, loaded.tokenizer, loaded.info)
    assert {p.name: p.read_bytes() for p in target.iterdir()} == before


def test_files_are_as_readable_as_the_users_others(folder_of_model: Make, tmp_path: Path) -> None:
    _, target, _ = _saved(folder_of_model, tmp_path)
    assert len({p.stat().st_mode for p in target.iterdir()}) == 1
