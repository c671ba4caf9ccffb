"""Tars: streaming reads of untrusted ones, and deterministic writes."""
