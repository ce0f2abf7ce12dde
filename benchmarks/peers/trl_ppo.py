"""PPO by TRL's experimental PPOTrainer (1.12, the last with it), on prompts of token ids.

A rollout batch of `batch` episodes, optimised in micro-batches of `micro`, one mini-batch a
PPO epoch, as many epochs as the job says; rollouts run in one forward batch, which is what serves
it best. Run in the environment of that TRL.
"""

from __future__ import annotations

import json
from pathlib import Path

from datasets import Dataset
from peers.clock import Clock, fresh_memory, job, report
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
)
from trl.experimental.ppo import PPOConfig, PPOTrainer

given = job()
rows = json.loads(Path(given["rows"]).read_text())
data = Dataset.from_list([{"input_ids": row["prompt"]} for row in rows])
tokenizer = AutoTokenizer.from_pretrained(given["policy"], padding_side="left")


def policy() -> AutoModelForCausalLM:
    """The policy, and once more as reference."""
    return AutoModelForCausalLM.from_pretrained(given["policy"], dtype="float32")


def scalar() -> AutoModelForSequenceClassification:
    """The reward model, and once more as value network."""
    return AutoModelForSequenceClassification.from_pretrained(given["reward"], dtype="float32")


trainer = PPOTrainer(
    args=PPOConfig(
        output_dir=given["scratch"], per_device_train_batch_size=given["micro"],
        gradient_accumulation_steps=given["batch"] // given["micro"], num_mini_batches=1,
        local_rollout_forward_batch_size=given["rollout"], num_ppo_epochs=given["epochs"],
        total_episodes=given["batch"] * given["updates"], response_length=given["tokens"],
        temperature=given["temperature"], stop_token="eos", missing_eos_penalty=1.0,
        kl_coef=0.05, cliprange=0.2, cliprange_value=0.2, vf_coef=0.1, gamma=1.0, lam=0.95,
        learning_rate=given["rate"], lr_scheduler_type="linear", adam_epsilon=1e-5,
        weight_decay=0.0, num_sample_generations=0, bf16=False, gradient_checkpointing=False,
        save_strategy="no", report_to="none", use_cpu=True, disable_tqdm=True, logging_steps=1,
        seed=given["seed"],
    ),
    processing_class=tokenizer, model=policy(), ref_model=policy(), reward_model=scalar(),
    value_model=scalar(), train_dataset=data, eval_dataset=data,
)  # fmt: skip
before, clock = fresh_memory(), Clock()
trainer.train()
per_update = len(clock.moments) // given["updates"]
logs = [entry for entry in trainer.state.log_history if "objective/kl" in entry]
report(
    **clock.since(per_update * given["warm_up"]), before=before,
    items=given["batch"] * (given["updates"] - given["warm_up"]),
    value_losses=[entry["loss/value_avg"] for entry in logs],
    scores=[entry["objective/scores"] for entry in logs],
    kl=[entry["objective/kl"] for entry in logs],
    entropy=[entry["objective/entropy"] for entry in logs],
)  # fmt: skip
