"""Jobs: submitted, specified, dispatched, and what they leave in their folders."""
