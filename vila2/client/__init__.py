"""The typed Python client of the platform, and what submits and exports data with it.

from vila2.client import Client
"""

from vila2.client.client import SERVICES, ApiError, Client, Unreachable, addresses

__all__ = ["SERVICES", "ApiError", "Client", "Unreachable", "addresses"]
