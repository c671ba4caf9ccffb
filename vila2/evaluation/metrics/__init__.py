"""Metrics of answers and captions: how good one is, without a model or a network."""
