"""Probes of a reward model on the posts of the evaluation, for the table of probes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from evalsuite.pipeline.reading import PostFile
from evalsuite.probes.editors import world_edits
from evalsuite.probes.library import PROBES
from evalsuite.probes.probe import items_of
from evalsuite.probes.run import Scorer, probe_table
from evalsuite.probes.world import WORLD_PROBES, world_gold, world_labelers
from evalsuite.simulation import Crowd, World


def probe_rows(
    settings: Mapping[str, Any], file: PostFile, samples: pd.DataFrame, score: Scorer
) -> pd.DataFrame:
    """Rows of `probes`: edits of references and of supervised samples, half of the posts each.

    In the world the truth and the labelers judge the same pairs, and an editor who knows the facts
    improves summaries (Table 17).
    """
    sampled = samples[samples["sample"] == 0].set_index("post_id")["text"]
    chosen = list(file.posts)[: settings["probe_posts"]]
    posts, texts, references = [], [], []
    for number, post_id in enumerate(chosen):
        reference = file.references.get(post_id)
        text = reference if number % 2 == 0 else sampled.get(post_id)
        if isinstance(text, str) and text:
            posts.append(file.posts[post_id])
            texts.append(text)
            references.append(reference)
    items = items_of(posts, texts, references)
    if settings["world_seed"] is None:
        table, _ = probe_table(items, {"": score}, probes=PROBES, seed=settings["seed"])
        return table
    world = World(settings["world_seed"])
    edits, _ = world_edits(world, items)
    table, _ = probe_table(
        items, {"": score}, probes=WORLD_PROBES, edits=edits, seed=settings["seed"],
        gold=world_gold(world),
        labelers=world_labelers(world, Crowd.draw(world, settings["labelers"])),
    )  # fmt: skip
    return table
