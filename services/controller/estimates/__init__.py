"""Estimates of what a run will take, and accounts of what it took."""
