"""Scores, intervals, verdicts and the run report; only the evaluator runs a model."""
