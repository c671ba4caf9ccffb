"""Which endpoints teams may use, and with which API keys. Pure, except that it reads the keys.

A service that sends requests to any address a team names could be used to attack the operator's
network (SSRF). One that sends any environment variable as a key could leak secrets. So the operator
lists the allowed origins, each with the variable that holds its key:

    VILA2_ENDPOINTS="http://gpu7:8000 https://api.example.com=EXAMPLE_API_KEY"

`*` allows every address and variable: the default of a platform in the user's own process.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from services.caption.engines.engine import EngineRefused
from vila2.schemas.endpoint_model import EndpointModel

ANY = "*"
SETTING = "VILA2_ENDPOINTS"


class AllowedEndpoints:
    """The parsed setting; raises `ValueError` if an entry is no origin."""

    def __init__(self, setting: str, *, environment: Mapping[str, str] = os.environ) -> None:
        self._environment = environment
        self._any = setting.strip() == ANY
        self._keys: dict[str, str] = {}
        for entry in [] if self._any else setting.replace(",", " ").split():
            origin, _, key_env = entry.partition("=")
            spec = EndpointModel(url=origin, model="-", key_env=key_env)
            if spec.url != spec.origin:
                raise ValueError(f"{SETTING}: {entry!r} is more than a scheme, a host and a port")
            self._keys[spec.origin] = key_env

    def key_of(self, spec: EndpointModel) -> str:
        """The API key for an endpoint, or empty. Raises `EngineRefused` if it is not allowed."""
        if not self._any and spec.origin not in self._keys:
            raise EngineRefused(
                f"{spec.origin} is not an endpoint that this platform may ask",
                field="url",
                fix=f"have the operator add it to {SETTING}",
            )
        if not spec.key_env:
            return ""
        if not self._any and spec.key_env != self._keys[spec.origin]:
            raise EngineRefused(
                f"the variable {spec.key_env} is not meant for {spec.origin}",
                field="key_env",
                fix=f"name the one that {SETTING} gives for it",
            )
        key = self._environment.get(spec.key_env, "")
        if not key:
            raise EngineRefused(
                f"the variable {spec.key_env} is not set where captions are made",
                field="key_env",
                fix="set it in the environment of the caption service and its workers",
            )
        return key
