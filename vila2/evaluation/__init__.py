"""Scores, intervals, verdicts and the run report; running a model is the evaluator's part."""
