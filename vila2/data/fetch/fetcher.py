"""The fetcher: downloads one image from one URL, or refuses with a reason."""

from __future__ import annotations

import socket
import ssl
import time
from dataclasses import dataclass
from types import TracebackType
from urllib.parse import quote, urljoin, urlsplit, urlunsplit

import httpcore2

from vila2.data.fetch.addresses import CheckedBackend, Deadline, Resolve
from vila2.data.fetch.consent import MAX_ROBOTS_BYTES, Robots, opted_out
from vila2.data.fetch.policy import FetchPolicy, FetchRefused

_REDIRECTS = (301, 302, 303, 307, 308)
_MAX_URL = 4096


@dataclass(frozen=True, slots=True)
class Fetched:
    """A downloaded image: its bytes and its URL after redirects."""

    data: bytes
    url: str
    status: int
    content_type: str


class Fetcher:
    """Fetches images within the bounds of a policy; safe to use from several threads.

    Connections are not reused, so none can serve a request for another host.
    """

    def __init__(
        self, policy: FetchPolicy | None = None, *, resolve: Resolve = socket.getaddrinfo
    ) -> None:
        self._policy = policy or FetchPolicy()
        self._deadline = Deadline()
        self._pool = httpcore2.ConnectionPool(
            ssl_context=ssl.create_default_context(),
            max_connections=256,
            max_keepalive_connections=0,
            network_backend=CheckedBackend(self._policy, resolve, self._deadline),
        )
        self._robots = Robots(self._ask_robots, self._policy.agent_name)

    def fetch(self, url: str) -> Fetched:
        """Fetch one image; raises `FetchRefused`."""
        self._deadline.until = time.monotonic() + self._policy.timeout_seconds
        status, headers, data, final = self._follow(url, self._policy.max_bytes, image=True)
        if status != 200:
            raise FetchRefused(
                "http-status",
                f"the server answered {status}; check the address",
                retryable=status == 429 or status >= 500,
            )
        return Fetched(data, final, status, headers.get("content-type", ""))

    def close(self) -> None:
        """Close the connection pool."""
        self._pool.close()

    def __enter__(self) -> Fetcher:
        return self

    def __exit__(
        self,
        _: type[BaseException] | None,
        __: BaseException | None,
        ___: TracebackType | None,
    ) -> None:
        self.close()

    def _ask_robots(self, url: str) -> tuple[int, bytes]:
        status, _, data, _ = self._follow(url, MAX_ROBOTS_BYTES, image=False)
        return status, data

    def _follow(
        self, url: str, limit: int, *, image: bool
    ) -> tuple[int, dict[str, str], bytes, str]:
        """Follow redirects, checking each target like the first address."""
        for _ in range(self._policy.max_redirects + 1):
            site = _site(url)
            if image and self._policy.respect_robots:
                self._robots.check(site, url)
            status, headers, data = self._once(url, limit, image=image)
            if status not in _REDIRECTS:
                return status, headers, data, url
            target = headers.get("location", "")
            if not target:
                raise FetchRefused("redirect-malformed", "a redirect names no address")
            url = urljoin(url, target)
        raise FetchRefused(
            "too-many-redirects", f"more than {self._policy.max_redirects} redirects; list the end"
        )

    def _once(self, url: str, limit: int, *, image: bool) -> tuple[int, dict[str, str], bytes]:
        headers = [
            ("User-Agent", self._policy.user_agent),
            ("Accept", "image/*" if image else "text/plain"),
            # Compressed responses could expand without limit, and images do not benefit.
            ("Accept-Encoding", "identity"),
            ("Connection", "close"),
        ]
        try:
            self._deadline.left()
            with self._pool.stream("GET", _ascii(url), headers=headers) as reply:
                held = [
                    (k.decode("latin-1").lower(), v.decode("latin-1")) for k, v in reply.headers
                ]
                found = dict(held)
                if image and reply.status == 200:
                    self._check_reply(held, found)
                if reply.status != 200:
                    return reply.status, found, b""
                return reply.status, found, self._read(reply, found, limit, cut=not image)
        except (httpcore2.TimeoutException, TimeoutError) as error:
            raise FetchRefused(
                "timeout",
                f"it took more than {self._policy.timeout_seconds:.0f} seconds; try later",
                retryable=True,
            ) from error
        except (httpcore2.NetworkError, httpcore2.ProtocolError, OSError) as error:
            raise FetchRefused(
                "connect-failed", "the connection failed or broke off; try later", retryable=True
            ) from error
        except (httpcore2.UnsupportedProtocol, ValueError) as error:
            if isinstance(error, FetchRefused):
                raise
            raise _malformed() from error

    def _check_reply(self, headers: list[tuple[str, str]], found: dict[str, str]) -> None:
        refusal = opted_out(headers, self._policy.agent_name)
        if refusal:
            raise FetchRefused("opted-out", f"the site opts out ({refusal}); leave it out")
        kind = found.get("content-type", "").partition(";")[0].strip().lower()
        if kind and not kind.startswith("image/") and kind not in _BINARY:
            raise FetchRefused(
                "not-an-image", f"the reply is {kind[:60]!r}, not an image; check the address"
            )

    def _read(
        self, reply: httpcore2.Response, headers: dict[str, str], limit: int, *, cut: bool
    ) -> bytes:
        if headers.get("content-encoding", "identity").strip().lower() not in ("identity", ""):
            raise FetchRefused("content-encoding", "the reply is compressed though none was asked")
        chunks: list[bytes] = []
        size = 0
        for chunk in reply.iter_stream():
            size += len(chunk)
            chunks.append(chunk)
            if size > limit:
                if cut:
                    break
                raise FetchRefused(
                    "too-large", f"the image has more than {limit:,} bytes; list a smaller one"
                )
        return b"".join(chunks)


_BINARY = ("application/octet-stream", "binary/octet-stream")


def _site(url: str) -> str:
    """Return scheme and authority of an allowed URL; raises `FetchRefused` otherwise."""
    if len(url) > _MAX_URL or any(ord(c) < 33 or ord(c) == 127 for c in url):
        raise _malformed()
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise _malformed() from error
    if parts.scheme.lower() not in ("http", "https"):
        raise FetchRefused("url-scheme", "only http and https addresses are fetched")
    if not parts.hostname or "@" in parts.netloc or "\\" in url or port == 0:
        raise _malformed()
    return f"{parts.scheme.lower()}://{parts.netloc}"


def _ascii(url: str) -> str:
    """The address with an IDNA host and percent-encoded path, as it goes over the wire."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    name = f"[{host}]" if ":" in host else host.encode("idna").decode() if host else ""
    authority = name if parts.port is None else f"{name}:{parts.port}"
    path = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~-._")
    query = quote(parts.query, safe="/%:@!$&'()*+,;=~-._?[]")
    return urlunsplit((parts.scheme.lower(), authority, path, query, ""))


def _text(header: tuple[bytes, bytes]) -> tuple[str, str]:
    return header[0].decode("latin-1").lower(), header[1].decode("latin-1")


def _malformed() -> FetchRefused:
    return FetchRefused("url-malformed", "the address is not a plain http or https URL; correct it")
