"""Commands on captions: create, inspect, import and export them."""
