"""The files that readers read: which there are, how they are found and sent."""
