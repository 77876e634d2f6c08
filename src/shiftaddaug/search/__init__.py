"""Searches: what a study of Optuna's is."""
