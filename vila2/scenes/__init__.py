"""A procedural image world with exact truth, for the demo and for benchmarks that cannot leak.

Nothing that runs the loop imports this package (an import rule holds it there): a run sees the
images and noisy alt-text that `write_world` wrote, and no more.
"""
