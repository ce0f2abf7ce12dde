"""Reward modelling by TRL's RewardTrainer, on pairs of token ids from a file.

Its settings are those that serve it best at this batch: no gradient checkpointing (its default
costs time), float32, the same order of pairs as the other side's. Run in TRL's environment.
"""

from __future__ import annotations

import json
from pathlib import Path

from datasets import Dataset
from peers.clock import Clock, fresh_memory, job, report
from transformers import AutoModelForSequenceClassification, AutoTokenizer
from trl import RewardConfig, RewardTrainer

given = job()
rows = json.loads(Path(given["rows"]).read_text())
data = Dataset.from_list(
    [{f"{side}_ids": row["prompt"] + row[side] for side in ("chosen", "rejected")} for row in rows]
)
trainer = RewardTrainer(
    model=AutoModelForSequenceClassification.from_pretrained(given["reward"], dtype="float32"),
    processing_class=AutoTokenizer.from_pretrained(given["reward"]),
    train_dataset=data,
    args=RewardConfig(
        output_dir=given["scratch"], per_device_train_batch_size=given["batch"],
        max_steps=given["steps"], learning_rate=given["rate"], lr_scheduler_type="cosine",
        max_grad_norm=1.0, adam_epsilon=1e-5, weight_decay=0.0, max_length=1024,
        bf16=False, gradient_checkpointing=False, logging_steps=1, save_strategy="no",
        report_to="none", train_sampling_strategy="sequential", use_cpu=True, disable_tqdm=True,
        dataloader_pin_memory=False,
    ),
)  # fmt: skip
before, clock = fresh_memory(), Clock()
trainer.train()
losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
report(
    **clock.since(given["warm_up"]), before=before, losses=losses,
    items=given["batch"] * (given["steps"] - given["warm_up"]),
)  # fmt: skip
