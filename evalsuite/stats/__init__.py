"""Statistics of labels and scores: every one returns `Estimate`s and knows no file and no model."""
