"""`vila2 runs`: commands that start, follow, control and compare runs, and their tables."""
