"""From candidate to production: what a model must show, who moved it, and how to go back."""
