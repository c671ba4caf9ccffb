"""Commands on models: add and list them, and plan their training."""
