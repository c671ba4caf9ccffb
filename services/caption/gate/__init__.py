"""The gate that a generated caption must pass; one file for each kind of check."""
