"""Explainability-aware masks: one row of factors for each class, learned while the model stays as it is."""
