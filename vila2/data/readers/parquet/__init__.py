"""Parquet files, and what Hugging Face `datasets` saves."""

from vila2.data.readers.parquet.columns import CAPTION_FIELDS, KEY_FIELDS
from vila2.data.readers.parquet.reader import ParquetReader

__all__ = ["CAPTION_FIELDS", "KEY_FIELDS", "ParquetReader"]
