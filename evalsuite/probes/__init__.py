"""Edits of a summary with a known direction, and what a reward model makes of them.

    probe         what a probe is: item, rule, pair; `make` checks that an edit changed something
    library       the rows of Table 18 and more; roles, text   the rules of English they need
    editors       edits that improve (Table 17): an editor who knows the world's facts
    human_edits   the same from people, where a release has them
    world         the simulated world's own reversal, its truth and its labelers
    run           pairs and scorers to the `probes` table of an experiment

Nothing here imports torch: a scorer is any function of posts and texts.
"""

from evalsuite.probes.library import FURTHER_PROBES, PAPER_PROBES, PROBES
from evalsuite.probes.probe import Item, Pair, Pool, Probe, Sides, Unmade, items_of, make, rng_of
from evalsuite.probes.run import build, judge, probe_table

__all__ = [
    "FURTHER_PROBES",
    "PAPER_PROBES",
    "PROBES",
    "Item",
    "Pair",
    "Pool",
    "Probe",
    "Sides",
    "Unmade",
    "build",
    "items_of",
    "judge",
    "make",
    "probe_table",
    "rng_of",
]
