"""Who starts next, what was used, and when a job is not worth going on with."""
