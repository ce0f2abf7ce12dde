"""Scoring and sampling by plain transformers, a row for each completion: the usual way.

Not a straw man: logits are computed for the completions' columns alone (left padding and
`logits_to_keep`), and every batch size of the job is tried on the first prompt beforehand, so that
the race is run with the fastest.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from peers.clock import between, fresh_memory, job, now, report
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

Rows = list[tuple[list[int], list[int]]]


def left_padded(rows: list[list[int]]) -> dict[str, torch.Tensor]:
    """Rows padded on the left by token 0, with mask and positions."""
    width = max(map(len, rows))
    ids = torch.tensor([[0] * (width - len(row)) + row for row in rows])
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])
    return {
        "input_ids": ids, "attention_mask": mask, "position_ids": (mask.cumsum(1) - 1).clamp(min=0)
    }  # fmt: skip


def logprobs(model: Any, rows: Rows, batch: int) -> list[list[float]]:
    """Log-probs of each row's completion."""
    found = []
    for at in range(0, len(rows), batch):
        part = rows[at : at + batch]
        inputs = left_padded([prompt + completion for prompt, completion in part])
        longest = max(len(completion) for _, completion in part)
        logits = model(**inputs, logits_to_keep=longest + 1, use_cache=False).logits[:, :-1].float()
        targets = inputs["input_ids"][:, -longest:]
        every = logits.log_softmax(-1).gather(2, targets[..., None])[..., 0]
        found += [row[-len(c) :].tolist() for row, (_, c) in zip(every, part, strict=True)]
    return found


def rewards(model: Any, rows: Rows, batch: int) -> list[list[float]]:
    """The reward of each row, read at its last token."""
    found = []
    for at in range(0, len(rows), batch):
        inputs = left_padded([prompt + c for prompt, c in rows[at : at + batch]])
        states = model.model(**inputs, use_cache=False).last_hidden_state[:, -1]
        found += model.score(states).tolist()
    return found


def fastest(batches: list[int], work: Callable[[int], object]) -> int:
    """The batch size whose trial takes least."""
    taken = {}
    for batch in batches:
        start = now()
        work(batch)
        taken[batch] = between(start, now())["wall"]
    return min(taken, key=lambda batch: taken[batch])


def score(given: dict[str, Any], groups: list[dict[str, Any]]) -> None:
    """Log-probs or rewards of candidates."""
    policy = given["what"] == "logprobs"
    kind = AutoModelForCausalLM if policy else AutoModelForSequenceClassification
    model = kind.from_pretrained(given["policy" if policy else "reward"], dtype="float32").eval()
    work = logprobs if policy else rewards
    by_prompt = [[(group["prompt"], c) for c in group["completions"]] for group in groups]
    trial = by_prompt[0][:16]
    work(model, trial[:2], 2)
    batch = fastest(given["batches"], lambda size: work(model, trial, size))
    before, start = fresh_memory(), now()
    found = [work(model, rows, batch) for rows in by_prompt]
    end = now()
    report(
        **between(start, end), before=before, items=sum(map(len, by_prompt)), batch=batch,
        values=[[x for row in several for x in row] for several in found],
    )  # fmt: skip


def draw(given: dict[str, Any], groups: list[dict[str, Any]]) -> None:
    """Samples of prompts by `generate`, then greedy completions of the same."""
    model = AutoModelForCausalLM.from_pretrained(given["policy"], dtype="float32").eval()
    model.generation_config.eos_token_id = None  # always the full length, as on the other side
    prompts = [group["prompt"] for group in groups]

    def run(batch: int, chosen: list[list[int]], length: int, **how: Any) -> list[list[int]]:
        out = []
        for at in range(0, len(chosen), batch):
            inputs = left_padded(chosen[at : at + batch])
            del inputs["position_ids"]
            drawn = model.generate(**inputs, max_new_tokens=length, pad_token_id=0, **how)
            out += drawn[:, inputs["input_ids"].shape[1] :].tolist()
        return out

    free: dict[str, Any] = {"do_sample": True, "temperature": 1.0, "top_k": 0, "top_p": 1.0}
    free["num_return_sequences"] = given["samples"]
    torch.manual_seed(given["seed"])
    run(1, prompts[:1], 2, **free)
    sizes = [size for size in given["batches"] if size <= len(prompts)]
    few = max(given["tokens"] // 8, 2)
    batch = fastest(sizes, lambda size: run(size, prompts, few, **free)) if sizes[1:] else sizes[0]
    before, start = fresh_memory(), now()
    run(batch, prompts, given["tokens"], **free)
    end = now()
    greedy = run(1, prompts, given["tokens"], do_sample=False)
    items = len(prompts) * given["samples"]
    report(**between(start, end), before=before, items=items, batch=batch, values=greedy)


def main() -> None:
    """What the job names."""
    given = job()
    groups = json.loads(Path(given["rows"]).read_text())
    with torch.no_grad():
        (draw if given["what"] == "sampling" else score)(given, groups)


if __name__ == "__main__":
    main()
