"""A real Triton inference server on this machine, without a container: installed and started."""
