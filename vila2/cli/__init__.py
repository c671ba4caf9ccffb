"""The `vila2` command."""
