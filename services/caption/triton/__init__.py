"""Captions from Triton: the tensors, the model repository, the backend's code and the client."""
