"""Remote checks of a platform: whether each service responds, its version, clock, and the key."""

from __future__ import annotations

import time

import httpx2

from vila2.client import ApiError, Client, Unreachable, addresses
from vila2.client.http import http_client
from vila2.doctor import judging
from vila2.doctor.finding import Finding, ok, problem
from vila2.doctor.machine import our_version


def findings(url: str, key: str) -> list[Finding]:
    """All five services at `url` (see `vila2.client.client.addresses`), checked with `key`."""
    try:
        each = addresses(url)
    except ValueError as error:
        return [problem("address", str(error), fix="correct --url or VILA2_PLATFORM_URL")]
    made = [finding for name, where in each.items() for finding in _service(name, where)]
    return [*made, _key(url, key)]


def _service(name: str, where: str) -> list[Finding]:
    asked, began = time.time(), time.monotonic()
    try:
        with http_client(f"{where}/", timeout=5) as client:
            answer = client.get("healthz")
        answer.raise_for_status()
        told = answer.json()
    except (httpx2.HTTPError, ValueError) as error:
        fix = f"start it (`vila2-service --target {name}`, or `vila2 up`), or correct the address"
        return [problem(f"service {name}", f"no answer from {where} ({error})", fix=fix)]
    took = time.monotonic() - began
    made = [judging.version(name, str(told.get("version", "")), our_version())]
    if "time" in told:
        ahead = float(told["time"]) - (asked + took / 2)
        made.append(judging.clock(name, ahead, took / 2))
    return made


def _key(url: str, key: str) -> Finding:
    if not key:
        return problem("key", "none", fix="give --key or VILA2_KEY, or name the server's workspace")
    client = Client.connect(url, key=key)
    try:
        client.datasets.version("doctor-asks-for-none")
    except Unreachable:
        return problem("key", "cannot be tried", fix="see the service datasets above")
    except ApiError as error:
        if error.problem.status == 404:
            return ok("key", "is known")
        if error.problem.status not in (401, 403):
            return problem("key", f"cannot be tried: {error}", fix="see the log of datasets")
        return problem("key", str(error), fix="ask whoever runs the platform for a new key")
    finally:
        client.close()
    return ok("key", "is known")
