"""Untrusted images: decoded within limits, hashed by looks, and checked for trailing data."""
