"""True utility by policy: means and paired differences, from the world's own formula."""

from __future__ import annotations

import numpy as np
import pytest

from evalsuite.errors import ConfigError
from evalsuite.pipeline.utility import utility_by_post, utility_table
from evalsuite.records import REFERENCE_POLICY
from evalsuite.simulation import World
from evalsuite.simulation.files import Text, texts_of


@pytest.fixture(scope="module")
def world() -> World:
    return World(0)


def summaries(world: World, n: int = 8) -> list[Text]:
    posts = world.posts("tldr", n)
    references = texts_of(posts.reference)
    copies = [Text(p, "copy", r) for p, r in zip(posts.ids, references, strict=True)]
    twice = [Text(p, "silent", "") for p in posts.ids for _ in range(2)]
    return [*copies, *twice]


def test_copies_of_the_references_differ_by_nothing(world: World) -> None:
    table = utility_table(utility_by_post(world, summaries(world)))
    row = table[(table["policy"] == "copy") & (table["against"] == REFERENCE_POLICY)]
    utility = row[row["measure"] == "utility"].iloc[0]
    assert (utility["value"], utility["se"], utility["n"]) == (0.0, 0.0, 8)
    preferred = table[(table["policy"] == "copy") & (table["measure"] == "preferred")].iloc[0]
    assert preferred["value"] == 0.5


def test_silence_costs_its_missing_words_and_is_paired_by_post(world: World) -> None:
    by_post = utility_by_post(world, summaries(world))
    # no fact said, eight words too short at a tenth each
    silent = by_post[by_post["policy"] == "silent"]
    assert silent["utility"].to_numpy() == pytest.approx(-0.8)
    assert set(silent["samples"]) == {2}
    table = utility_table(by_post)
    found = table[
        (table["policy"] == "silent")
        & (table["measure"] == "utility")
        & (table["against"] == REFERENCE_POLICY)
    ].iloc[0]
    posts = world.posts("tldr", 8)
    own = np.array([world.utility(p, t) for p, t in
                    zip(posts.ids, texts_of(posts.reference), strict=True)])  # fmt: skip
    gaps = -0.8 - own
    assert found["value"] == pytest.approx(gaps.mean())
    assert found["se"] == pytest.approx(gaps.std(ddof=1) / np.sqrt(8))
    assert (found["n"], found["n_clusters"]) == (8, 8)


def test_a_policy_that_is_not_there_is_named(world: World) -> None:
    with pytest.raises(ConfigError, match="--against 'sft'; allowed copy, silent, reference"):
        utility_table(utility_by_post(world, summaries(world)), against="sft")
