"""Trainers: supervised fine-tuning, reward models, PPO; each module is read from top to bottom.

    config.py        settings that the three share
    resume.py        a run: its folder, its numbers, its checkpoints; killed and resumed exactly
    engine.py        one or many processes: gradients normalised over all of them
    sequences.py     tables as tokenised examples
    sft.py           supervised fine-tuning on reference summaries
    reward_model.py  a reward model from comparisons
    ppo.py           PPO against a reward; losses.py and rollout.py are its parts

They write checkpoints that transformers loads as they are, and import nothing of the analyses.
"""
