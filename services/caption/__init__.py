"""The caption service: dataset versions in, gated and sealed caption layers out."""
