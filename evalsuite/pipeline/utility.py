"""What policies are worth on the simulated world: true utility, paired by post, with intervals.

Every text is read back by `World.utility`, so nothing here is a model's or a labeler's opinion.
Samples of one policy on one post are averaged first: the unit of all intervals is the post.
Proof: tests/pipeline/test_utility.py.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from evalsuite.errors import ConfigError
from evalsuite.records import REFERENCE_POLICY, shown
from evalsuite.simulation import World
from evalsuite.simulation.files import REFERENCES, Text, texts_of
from evalsuite.stats.estimate import Estimate
from evalsuite.stats.means import cluster_mean

MEASURES = ("utility", "tokens", "preferred")
"""True utility; words and signs of the text; share of samples of more utility than the post's
reference, equal ones counted half."""


def utility_by_post(world: World, texts: Sequence[Text]) -> pd.DataFrame:
    """A row a post and policy, the post's reference among them: means of `MEASURES`, samples."""
    rows = [text for text in texts if text.policy not in REFERENCES]
    posts = list(dict.fromkeys(text.post for text in rows))
    known = {post: world.post(post) for post in posts}
    rows += [Text(post, REFERENCE_POLICY, texts_of(known[post].reference)[0]) for post in posts]
    table = pd.DataFrame(rows, columns=["post", "policy", "text"])
    values = [world.utility(known[post], text) for post, _, text in rows]
    table["utility"] = values
    table["tokens"] = [float(len(text.split())) for text in table["text"]]
    own = table[table["policy"] == REFERENCE_POLICY].set_index("post")["utility"]
    gap = table["utility"].to_numpy() - own.reindex(table["post"]).to_numpy()
    table["preferred"] = np.where(gap > 0, 1.0, np.where(gap < 0, 0.0, 0.5))
    grouped = table.groupby(["post", "policy"], sort=False)
    means = grouped[list(MEASURES)].mean()
    return means.assign(samples=grouped.size()).reset_index()


def utility_table(by_post: pd.DataFrame, *, against: str | None = None) -> pd.DataFrame:
    """Mean of each measure by policy, and its paired difference to one of them.

    against: the policy that differences are taken to; the reference summaries by default. A
    difference uses the posts that both policies have.
    Raises ConfigError for a policy that is not there.
    """
    against = REFERENCE_POLICY if against is None else against
    policies = by_post["policy"].unique().tolist()
    if against not in policies:
        raise ConfigError(f"--against {shown(against)}; allowed {', '.join(policies)}")
    out = []
    for measure in MEASURES:
        wide = by_post.pivot(index="post", columns="policy", values=measure)
        for policy in policies:
            values = wide[policy].dropna()
            mean = cluster_mean(values.to_numpy(), clusters=values.index.tolist())
            out.append(_row(policy, measure, "", mean))
            if policy != against:
                gap = (wide[policy] - wide[against]).dropna()
                change = cluster_mean(gap.to_numpy(), clusters=gap.index.tolist())
                out.append(_row(policy, measure, against, change))
    return pd.DataFrame(out)


def _row(policy: str, measure: str, against: str, estimate: Estimate) -> dict[str, object]:
    return {"policy": policy, "measure": measure, "against": against, **estimate._asdict()}
