"""What the REST interfaces of all services have in common, one file each."""
