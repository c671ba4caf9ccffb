"""Intervals: bootstrap over items and seeds, and ratios of sums."""
