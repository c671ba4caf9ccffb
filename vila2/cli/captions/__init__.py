"""Commands on captions: make, look at, import and export them."""
