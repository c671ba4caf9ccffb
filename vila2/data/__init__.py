"""Shards, readers and writers, caption layers, assembly: a dataset as files."""
