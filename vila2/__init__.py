"""The VILA² recaptioning library: everything a user imports, and no server inside."""
