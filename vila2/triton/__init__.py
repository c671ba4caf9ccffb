"""Installs and runs a Triton inference server on this machine, without a container."""
