"""The dataset store: submissions in, immutable versions and caption layers out."""
