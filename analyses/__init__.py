"""One module a figure or table of the paper that human labels decide.

Each module follows `evalsuite.report.result.Analysis`; `NAMES` is the order of the paper.
"""

NAMES = (
    "preference",
    "length_control",
    "axes",
    "ratings_length",
    "labelers",
    "agreement",
    "human_best_of_n",
    "decoding",
    "copying",
    "rouge",
    "size_and_method",
    "transfer",
    "kl_frontier",
    "policies",
    "length_share",
    "divergence",
    "rounds",
    "edits",
    "probes",
    "reward_scaling",
    "best_of_n",
    "overoptimization",
    "value_network",
    "directions",
)
