"""Fetching images from untrusted URLs: public addresses only, honouring opt-outs."""

from vila2.data.fetch.fetcher import Fetched, Fetcher
from vila2.data.fetch.policy import FetchPolicy, FetchRefused

__all__ = ["FetchPolicy", "FetchRefused", "Fetched", "Fetcher"]
