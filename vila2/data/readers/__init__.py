"""Readers: one file per format that teams submit, each yielding raw samples.

A reader checks nothing about images or texts; that is admission's work, at the dataset store.
It does say which files it cannot pair, as raw samples with a `problem`.
"""

from vila2.data.readers.base import Reader, ReadOptions
from vila2.data.readers.formats import FORMATS, open_reader

__all__ = ["FORMATS", "ReadOptions", "Reader", "open_reader"]
