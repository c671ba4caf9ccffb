"""The training dispatcher and the model registry."""
