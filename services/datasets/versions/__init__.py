"""Datasets and their versions: uploads, ingest, and finding samples."""
