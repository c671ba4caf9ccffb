"""Stored bytes: whether they are those that were written."""
