"""The typed Python client of the platform, and what submits and exports data with it.

from vila2.client import Client
"""

from vila2.client.client import ApiError, Client, Unreachable, addresses

__all__ = ["ApiError", "Client", "Unreachable", "addresses"]
