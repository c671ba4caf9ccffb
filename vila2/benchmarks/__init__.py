"""Known benchmarks as sources: each becomes an ordinary benchmark dataset of the store.

A source reads files as their makers published them and writes the platform's own benchmark format
(`docs/benchmarks.md`). After that nothing distinguishes it from a team's own benchmark.
"""
