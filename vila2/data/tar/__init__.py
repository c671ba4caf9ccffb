"""Tars: untrusted ones are read as a stream, ours are written byte for byte alike."""
