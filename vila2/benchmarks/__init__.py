"""Converters of public benchmarks to benchmark datasets of the store.

A source reads the published files and writes the platform's own benchmark format
(`docs/benchmarks.md`). After that nothing distinguishes it from a team's own benchmark.
"""
