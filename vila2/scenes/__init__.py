"""A procedural image world with exact truth, for the demo and for benchmarks that cannot leak.

Nothing that runs the loop imports this package (enforced by an import rule): a run sees only the
images and noisy alt-text that `write_world` wrote.
"""
