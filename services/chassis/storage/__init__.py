"""Databases and their migrations, and the object store port with its adapters."""
