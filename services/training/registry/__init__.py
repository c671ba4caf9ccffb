"""The model registry: lineage, scores, cards, and scores of other programs."""
