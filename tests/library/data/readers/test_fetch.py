"""Fetching from addresses that strangers list: what is reached, and what is not."""

from __future__ import annotations

import contextlib
import ipaddress
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.datasets.samples import image
from tests.support.servers.image_web_server import ImagesWeb, Page, images_web
from vila2.data.fetch import Fetcher, FetchPolicy, FetchRefused
from vila2.data.fetch.addresses import is_public
from vila2.data.fetch.consent import opted_out

OPEN = FetchPolicy(allow_networks=("127.0.0.1/32",), timeout_seconds=3, max_bytes=10_000)


@pytest.fixture
def web() -> Iterator[ImagesWeb]:
    with images_web({"/a.png": Page(image(0))}) as made:
        yield made


def refusal(url: str, policy: FetchPolicy = OPEN, **how) -> FetchRefused:
    with Fetcher(policy, **how) as fetcher, pytest.raises(FetchRefused) as caught:
        fetcher.fetch(url)
    assert caught.value.detail
    return caught.value


def answers(*addresses: str):
    """A resolver that gives these addresses, and counts how often it was asked."""

    def resolve(host: str, port: int, **_):
        resolve.asked += 1
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (held, port)) for held in addresses]

    resolve.asked = 0
    return resolve


def test_an_image_is_fetched_with_where_it_came_from(web: ImagesWeb) -> None:
    """Redirects are followed, each of them checked."""
    web.pages["/moved"] = Page(status=301, headers={"location": "/a.png"})
    with Fetcher(OPEN) as fetcher:
        found = fetcher.fetch(f"{web.url}/moved")
    assert (found.data, found.url, found.status) == (image(0), f"{web.url}/a.png", 200)


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "127.1", "2130706433", "0x7f000001", "0177.0.0.1", "localhost", "[::1]",
     "[::ffff:127.0.0.1]", "0.0.0.0", "169.254.169.254", "10.1.2.3", "192.168.0.1",
     "172.16.0.1", "100.64.0.1", "[fd00::1]", "[fe80::1]", "[64:ff9b::7f00:1]",
     "[2002:7f00:1::]", "224.0.0.1", "255.255.255.255", "198.18.0.1"],
)  # fmt: skip
def test_an_address_that_is_not_public_is_refused_however_it_is_written(host: str) -> None:
    """Loopback, private, link-local, metadata, translated ones; names that lead to them."""
    assert refusal(f"http://{host}/a.png", FetchPolicy()).reason == "address-not-public"


@settings(max_examples=200)
@given(st.sampled_from(["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "127.0.0.0/8",
                        "169.254.0.0/16", "100.64.0.0/10", "224.0.0.0/4", "240.0.0.0/4"]),
       st.integers(0, 2**32 - 1), st.sampled_from(["v4", "mapped", "6to4", "nat64"]))  # fmt: skip
def test_no_spelling_of_a_private_address_is_public(network: str, number: int, how: str) -> None:
    """As itself, or within an IPv6 address that would hand packets on to it."""
    held = ipaddress.ip_network(network)
    inner = int(held.network_address) + number % held.num_addresses
    address: ipaddress.IPv4Address | ipaddress.IPv6Address = ipaddress.IPv4Address(inner)
    if how == "mapped":
        address = ipaddress.IPv6Address((0xFFFF << 32) | inner)
    elif how == "6to4":
        address = ipaddress.IPv6Address((0x2002 << 112) | (inner << 80))
    elif how == "nat64":
        address = ipaddress.IPv6Address((0x64FF9B << 96) | inner)
    assert not is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "93.184.216.34", "2606:2800:220:1::1"])
def test_public_addresses_are_public(address: str) -> None:
    """The guard lets the internet through."""
    assert is_public(ipaddress.ip_address(address))


def test_a_name_with_one_private_address_among_public_ones_is_refused() -> None:
    """Which of them would be connected to is not left to chance."""
    resolve = answers("93.184.216.34", "10.0.0.1")
    assert refusal("http://images.example/a.png", resolve=resolve).reason == "address-not-public"


def test_a_name_is_resolved_once_and_what_was_checked_is_connected_to(web: ImagesWeb) -> None:
    """A name server that answers differently the second time (rebinding) is not asked again."""
    port = web.url.rsplit(":", 1)[1]
    resolve = answers("127.0.0.1")
    policy = FetchPolicy(allow_networks=("127.0.0.1/32",), respect_robots=False)
    with Fetcher(policy, resolve=resolve) as fetcher:
        assert fetcher.fetch(f"http://images.example:{port}/a.png").data == image(0)
    assert resolve.asked == 1


@pytest.mark.parametrize(
    "target",
    ["http://169.254.169.254/latest/meta-data/", "http://10.0.0.1/", "http://[::1]/",
     "http://127.0.0.2/", "file:///etc/passwd", "gopher://127.0.0.1/"],
)  # fmt: skip
def test_a_redirect_to_where_it_must_not_go_is_refused(web: ImagesWeb, target: str) -> None:
    """Every hop is checked like the first."""
    web.pages["/away"] = Page(status=302, headers={"location": target})
    reason = "url-scheme" if target.startswith(("file", "gopher")) else "address-not-public"
    assert refusal(f"{web.url}/away").reason == reason


def test_redirects_in_a_circle_end(web: ImagesWeb) -> None:
    """After five."""
    web.pages["/round"] = Page(status=302, headers={"location": "/round"})
    assert refusal(f"{web.url}/round").reason == "too-many-redirects"


@pytest.mark.parametrize(
    ("url", "reason"),
    [("ftp://example.org/a", "url-scheme"), ("http://", "url-malformed"),
     ("http://user:pw@example.org/a", "url-malformed"), ("http://a b/", "url-malformed"),
     ("http://example.org/\r\nHost: x", "url-malformed"), ("http://x:99999/", "url-malformed"),
     ("http://example.org\\@127.0.0.1/", "url-malformed"), ("a.png", "url-scheme"),
     ("http://[::1", "url-malformed"), ("http://x/" + "a" * 5000, "url-malformed")],
)  # fmt: skip
def test_an_address_that_is_none_is_refused_before_anything_is_asked(url: str, reason: str) -> None:
    """What parsers disagree about is not fetched."""
    resolve = answers("93.184.216.34")
    assert refusal(url, FetchPolicy(), resolve=resolve).reason == reason
    assert resolve.asked == 0


def test_only_the_webs_own_ports_are_reached() -> None:
    """A list must not knock at mail servers."""
    resolve = answers("93.184.216.34")
    url = "http://images.example:25/a.png"
    assert refusal(url, FetchPolicy(), resolve=resolve).reason == "port-not-allowed"


@pytest.mark.parametrize(
    ("page", "reason", "again"),
    [
        (Page(b"x" * 20_000), "too-large", False),
        (Page(b"<html>", headers={"content-type": "text/html"}), "not-an-image", False),
        (Page(b"x", headers={"content-encoding": "gzip"}), "content-encoding", False),
        (Page(b"x", headers={"x-robots-tag": "noindex, noai"}), "opted-out", False),
        (Page(b"x", headers={"tdm-reservation": "1"}), "opted-out", False),
        (Page(status=404), "http-status", False),
        (Page(status=429), "http-status", True),
        (Page(status=503), "http-status", True),
        (Page(status=302), "redirect-malformed", False),
    ],
)
def test_a_reply_that_is_not_wanted_is_refused(
    web: ImagesWeb, page: Page, reason: str, again: bool
) -> None:
    """With a reason, and whether another attempt may help."""
    web.pages["/b.png"] = page
    found = refusal(f"{web.url}/b.png")
    assert (found.reason, found.retryable) == (reason, again)


def test_robots_rules_are_asked_once_a_site_and_kept_to(web: ImagesWeb) -> None:
    """RFC 9309, for our own name and for all."""
    web.pages["/robots.txt"] = Page(b"User-agent: vila2\nDisallow: /private/\n")
    web.pages["/private/a.png"] = Page(image(1))
    with Fetcher(OPEN) as fetcher:
        for _ in range(3):
            fetcher.fetch(f"{web.url}/a.png")
            with pytest.raises(FetchRefused, match=r"robots\.txt"):
                fetcher.fetch(f"{web.url}/private/a.png")
    assert web.asked["/robots.txt"] == 1
    assert not web.asked["/private/a.png"]


def test_a_site_whose_robots_rules_cannot_be_read_is_left_alone_for_now(web: ImagesWeb) -> None:
    """A server in trouble is not a permission."""
    web.pages["/robots.txt"] = Page(status=500)
    found = refusal(f"{web.url}/a.png")
    assert (found.reason, found.retryable) == ("robots-unreachable", True)


@pytest.mark.parametrize(
    ("value", "refuses"),
    [("noai", True), ("all", False), ("vila2: noimageai", True), ("otherbot: noai", False),
     ("max-snippet:-1, noindex", True), ("otherbot: noindex, noai", False),
     ("unavailable_after: 25 Jun 2030 15:00:00 PST", False)],
)  # fmt: skip
def test_a_robots_header_counts_when_it_speaks_to_us(value: str, refuses: bool) -> None:
    """For all agents, or by name."""
    assert bool(opted_out([("x-robots-tag", value)], "vila2")) == refuses


@contextmanager
def listening(serve) -> Iterator[int]:
    """A bare socket server: `serve` gets each connection."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def loop() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                threading.Thread(target=serve, args=(connection,), daemon=True).start()

        threading.Thread(target=loop, daemon=True).start()
        yield server.getsockname()[1]


@pytest.mark.parametrize("head", [b"", b"HTTP/1.1 200 OK\r\ncontent-length: 5000\r\n\r\n"])
def test_a_server_that_drips_is_left_when_the_time_is_over(head: bytes) -> None:
    """A byte now and then, in the headers or the body, does not hold a worker."""

    def drip(connection: socket.socket) -> None:
        with connection:
            try:
                connection.sendall(head)
                while True:
                    connection.sendall(b"H")
                    time.sleep(0.1)
            except OSError:
                return

    policy = FetchPolicy(
        allow_networks=("127.0.0.1/32",), timeout_seconds=0.6, respect_robots=False
    )
    started = time.monotonic()
    with listening(drip) as port:
        assert refusal(f"http://127.0.0.1:{port}/a.png", policy).reason in (
            "timeout", "connect-failed",
        )  # fmt: skip
    assert time.monotonic() - started < 3


def test_a_server_that_sends_less_than_it_says_is_a_failure() -> None:
    """Half an image is not taken for one."""

    def lie(connection: socket.socket) -> None:
        with connection:
            connection.recv(4096)
            connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 5000\r\n\r\nshort")

    policy = FetchPolicy(allow_networks=("127.0.0.1/32",), respect_robots=False)
    with listening(lie) as port:
        found = refusal(f"http://127.0.0.1:{port}/a.png", policy)
    assert (found.reason, found.retryable) == ("connect-failed", True)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificate")
def test_a_certificate_that_nobody_vouches_for_is_not_accepted(tmp_path: Path) -> None:
    """TLS is checked under the name, though the connection goes to an address."""
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=DNS:localhost", "-keyout", "key.pem", "-out", "cert.pem"],
        cwd=tmp_path, check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    seen: list[bytes] = []

    def serve(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            seen.append(context.wrap_socket(connection, server_side=True).recv(100))

    policy = FetchPolicy(allow_networks=("127.0.0.1/32",), respect_robots=False)
    with listening(serve) as port:
        url = f"https://localhost:{port}/a.png"
        assert refusal(url, policy, resolve=answers("127.0.0.1")).reason == "connect-failed"
    assert not any(seen)


def test_a_name_that_does_not_exist_may_be_tried_again() -> None:
    """Name servers fail for a while, too."""

    def fail(*_, **__):
        raise socket.gaierror("no such name")

    found = refusal("http://nowhere.example/a.png", FetchPolicy(), resolve=fail)
    assert (found.reason, found.retryable) == ("dns-failed", True)
