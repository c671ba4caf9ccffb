"""Captions that somebody has already: read from files, sent to the store, matched to samples."""
