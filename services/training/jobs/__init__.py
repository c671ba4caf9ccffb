"""Jobs: submission, specs, dispatching, and the files in their folders."""
