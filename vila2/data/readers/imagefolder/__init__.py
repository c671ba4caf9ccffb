"""Hugging Face's `imagefolder`: images with a table of their captions."""

from vila2.data.readers.imagefolder.reader import ImageFolderReader

__all__ = ["ImageFolderReader"]
