"""Fetching images from addresses that strangers list: only what is public, and wants it."""

from vila2.data.fetch.fetcher import Fetched, Fetcher
from vila2.data.fetch.policy import FetchPolicy, FetchRefused

__all__ = ["FetchPolicy", "FetchRefused", "Fetched", "Fetcher"]
