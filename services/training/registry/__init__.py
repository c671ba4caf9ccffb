"""The model registry: lineage, scores, model cards, and scores of other programs."""
