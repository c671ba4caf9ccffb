"""Commands on models: add, look at, and plan for them."""
