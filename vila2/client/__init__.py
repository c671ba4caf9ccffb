"""The typed Python client of the platform, and functions to submit and export data.

from vila2.client import Client
"""

from vila2.client.client import SERVICES, ApiError, Client, Unreachable, addresses

__all__ = ["SERVICES", "ApiError", "Client", "Unreachable", "addresses"]
