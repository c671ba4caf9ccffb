"""Estimates of a run's cost, and accounting of what it used."""
