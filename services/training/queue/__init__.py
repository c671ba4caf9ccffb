"""Scheduling, usage accounting and early stopping."""
