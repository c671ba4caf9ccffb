"""Examples of identity: teams, users, keys, limits and the audit log."""

from __future__ import annotations

from typing import Any

from vila2.api.examples.story import AT

_LIMITS = {"requests_per_minute": 600, "images_per_day": 1_000_000, "storage_bytes": None}
_LIMITS_SET = {**_LIMITS, "set_by": "5d41402a", "set_at": AT}
_KEY = {
    "prefix": "a87ff679",
    "team": "photos",
    "user": "mira@example.org",
    "name": "nightly submissions",
    "scopes": ["datasets:read", "datasets:write"],
    "state": "active",
    "created_at": AT,
    "created_by": "5d41402a",
    "expires_at": None,
    "revoked_at": None,
    "last_used_at": AT,
}

EXAMPLES: dict[str, dict[str, Any]] = {
    "identity.TeamIn": {"name": "photos"},
    "identity.LimitsIn": _LIMITS,
    "identity.Limits": _LIMITS_SET,
    "identity.MemberIn": {"role": "member"},
    "identity.Member": {"user": "mira@example.org", "role": "member"},
    "identity.Team": {
        "name": "photos",
        "created_at": AT,
        "members": [{"user": "mira@example.org", "role": "member"}],
        "keys": 1,
        "limits": _LIMITS_SET,
    },
    "identity.User": {
        "name": "mira@example.org",
        "created_at": AT,
        "roles": {"photos": "member"},
    },
    "identity.KeyIn": {"name": "nightly submissions", "role": "member", "expires_in_days": 90},
    "identity.RotateIn": {"overlap_hours": 24},
    "identity.Key": _KEY,
    "identity.NewKey": {**_KEY, "key": "a87ff679.SECRET"},
    "identity.Caller": {
        "key": "a87ff679",
        "team": "photos",
        "user": "mira@example.org",
        "scopes": ["datasets:read", "datasets:write"],
    },
    "identity.AuditPage": {
        "entries": [
            {
                "id": 42,
                "at": AT,
                "service": "datasets",
                "method": "POST",
                "route": "/v1/datasets",
                "path": "/v1/datasets",
                "status": 201,
                "key": "a87ff679",
                "user": "mira@example.org",
                "team": "photos",
                "request_id": "8f14e45fceea467a9c1d0f2b6a7d3e55",
            }
        ],
        "next": None,
    },
}
