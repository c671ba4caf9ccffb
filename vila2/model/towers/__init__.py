"""Vision towers that transformers does not have, each registered under a model type of its own."""
