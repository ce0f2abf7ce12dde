"""Evaluation and reward-model analysis for models trained from human preferences.

Importing this package loads neither torch nor matplotlib and touches no network.
"""

__version__ = "0.1.0"
