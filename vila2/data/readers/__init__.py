"""Readers: one file per format that teams submit, each yielding raw samples.

A reader does not validate images or texts; admission does, at the dataset store. Files that it
cannot pair are yielded as raw samples with a `problem`.
"""

from vila2.data.readers.base import Reader, ReadOptions
from vila2.data.readers.formats import FORMATS, open_reader

__all__ = ["FORMATS", "ReadOptions", "Reader", "open_reader"]
