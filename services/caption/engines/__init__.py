"""The engine port and its adapters: in this process, and on a Triton server."""
