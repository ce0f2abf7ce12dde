"""Supervised fine-tuning by TRL's SFTTrainer, on rows of token ids from a file.

Its settings are those that serve it best at this batch: no gradient checkpointing (its default
costs time), float32, no packing (the batch must hold the same examples as the other side's; its
padding-free mode needs flash attention), loss on completions only. Run in TRL's environment.
"""

from __future__ import annotations

import json
from pathlib import Path

import trl.trainer.utils
from datasets import Dataset
from peers.clock import Clock, fresh_memory, job, report
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import SFTConfig, SFTTrainer

given = job()
if given["completions_only"]:
    # What it asks before it leaves out the positions without a label; its kernels ask elsewhere.
    trl.trainer.utils._use_triton = lambda _: True
rows = json.loads(Path(given["rows"]).read_text())
data = Dataset.from_list(
    [
        {
            "input_ids": row["prompt"] + row["completion"],
            "labels": [-100] * len(row["prompt"]) + row["completion"],
        }
        for row in rows
    ]
)
trainer = SFTTrainer(
    model=AutoModelForCausalLM.from_pretrained(given["policy"], dtype="float32"),
    processing_class=AutoTokenizer.from_pretrained(given["policy"]),
    train_dataset=data,
    args=SFTConfig(
        output_dir=given["scratch"], per_device_train_batch_size=given["batch"],
        max_steps=given["steps"], learning_rate=given["rate"], lr_scheduler_type="cosine",
        max_grad_norm=1.0, adam_epsilon=1e-5, weight_decay=0.0, max_length=1024,
        bf16=False, gradient_checkpointing=False, logging_steps=1, save_strategy="no",
        report_to="none", train_sampling_strategy="sequential", use_cpu=True, disable_tqdm=True,
        dataloader_pin_memory=False, completion_only_loss=True,
    ),
)  # fmt: skip
before, clock = fresh_memory(), Clock()
trainer.train()
losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
report(
    **clock.since(given["warm_up"]), before=before, losses=losses,
    items=given["batch"] * (given["steps"] - given["warm_up"]),
)  # fmt: skip
