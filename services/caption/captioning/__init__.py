"""Captioning: prompts, attempts and the gate for any number of images; no jobs, no tables."""
