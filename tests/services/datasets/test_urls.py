"""Lists of addresses: fetched by the store, within bounds, and gone on with after a crash."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from services.platform.embedded import EmbeddedPlatform
from tests.support.datasets.samples import image
from tests.support.embedded_platform import submitted
from tests.support.servers.image_web_server import ImagesWeb, Page, images_web
from tests.support.waiting import until
from vila2.client import Client
from vila2.client.submit import submit
from vila2.data.fetch import FetchPolicy

LOOPBACK = FetchPolicy(allow_networks=("127.0.0.1/32",), timeout_seconds=5)


@pytest.fixture
def web() -> Iterator[ImagesWeb]:
    pages = {f"/{n}.png": Page(image(n)) for n in range(6)}
    with images_web(pages) as made:
        yield made


@pytest.fixture
def fetching(tmp_path: Path) -> Iterator[EmbeddedPlatform]:
    """A store that may fetch from the loopback, as an operator would allow on purpose."""
    with EmbeddedPlatform(tmp_path / "workspace", fetching=LOOPBACK) as made:
        yield made


def rows(web: ImagesWeb, count: int = 4) -> list[dict[str, str]]:
    return [{"url": f"{web.url}/{n}.png", "caption": f"fox {n}"} for n in range(count)]


def jsonl(path: Path, held: list[dict[str, str]]) -> Path:
    path.write_text("\n".join(json.dumps(row) for row in held))
    return path


def written(path: Path, held: list[dict[str, str]]) -> Path:
    if path.suffix == ".jsonl":
        return jsonl(path, held)
    if path.suffix == ".csv":
        lines = ["url,caption", *(f'{row["url"]},"{row["caption"]}"' for row in held)]
        path.write_text("\n".join(lines))
    else:
        pq.write_table(pa.Table.from_pylist(held), path)
    return path


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "parquet"])
def test_a_list_of_addresses_becomes_a_dataset(
    fetching: EmbeddedPlatform, web: ImagesWeb, tmp_path: Path, suffix: str
) -> None:
    """The address is the sample's source, so that its owner can be found."""
    path = written(tmp_path / f"list.{suffix}", rows(web))
    version = submitted(fetching.client, path, name="web", format="urls")
    assert (version.state, version.samples, version.rejected) == ("ready", 4, {})
    first = fetching.client.datasets.shard_content("web", 1, 0)
    assert image(3) in first
    assert f"{web.url}/3.png".encode() in first


def test_what_cannot_be_fetched_is_counted_by_reason(
    fetching: EmbeddedPlatform, web: ImagesWeb, tmp_path: Path
) -> None:
    """Gone, opted out, refused to robots, no image, no address, loopback by another name."""
    web.pages["/robots.txt"] = Page(b"User-agent: *\nDisallow: /private", headers={})
    web.pages["/private/a.png"] = Page(image(50))
    web.pages["/optout.png"] = Page(image(51), headers={"x-robots-tag": "noai"})
    web.pages["/page.html"] = Page(b"<html>", headers={"content-type": "text/html"})
    web.pages["/away.png"] = Page(status=302, headers={"location": "http://169.254.169.254/a.png"})
    held = [
        *rows(web, 2),
        *({"url": f"{web.url}{path}", "caption": "x"} for path in (
            "/gone.png", "/private/a.png", "/optout.png", "/page.html", "/away.png")),
        {"url": "http://10.0.0.1/a.png", "caption": "x"},
        {"url": "file:///etc/passwd", "caption": "x"},
        {"url": "", "caption": "x"},
        {"url": f"{web.url}/5.png", "caption": ""},
    ]  # fmt: skip
    version = submitted(fetching.client, jsonl(tmp_path / "l.jsonl", held), name="w", format="urls")
    assert version.samples == 2
    assert version.rejected == {
        "http-status": 1, "robots-disallowed": 1, "opted-out": 1, "not-an-image": 1,
        "address-not-public": 2, "url-scheme": 1, "url-missing": 1, "caption-missing": 1,
    }  # fmt: skip


def test_a_store_fetches_nothing_from_its_own_machine_unless_it_is_told_to(
    client: Client, web: ImagesWeb, tmp_path: Path
) -> None:
    """Not one request reaches the server."""
    version = submitted(client, jsonl(tmp_path / "l.jsonl", rows(web)), name="w", format="urls")
    assert (version.state, version.rejected) == ("failed", {"address-not-public": 4})
    assert not web.asked


def test_images_without_text_are_taken_where_that_is_said(
    fetching: EmbeddedPlatform, web: ImagesWeb, tmp_path: Path
) -> None:
    """A list of addresses alone is enough: the captions come from a model."""
    from vila2.data.readers import ReadOptions

    path = jsonl(tmp_path / "l.jsonl", [{"url": f"{web.url}/{n}.png"} for n in range(3)])
    version = submit(
        fetching.client, path, name="w", format="urls", options=ReadOptions(captionless=True),
        poll_seconds=0.02,
    )  # fmt: skip
    assert (version.state, version.samples) == ("ready", 3)


def test_fetching_that_was_cut_goes_on_with_the_rest(
    fetching: EmbeddedPlatform, web: ImagesWeb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was fetched before the crash is not asked for again."""
    import services.datasets.versions.incoming as module

    monkeypatch.setattr(module, "FETCH_CHUNK", 2)
    seen = {"chunks": 0}

    def crashpoint(name: str) -> None:
        seen["chunks"] += 1
        if seen["chunks"] == 2:
            raise RuntimeError("cut")

    monkeypatch.setattr(module, "crashpoint", crashpoint)
    path = jsonl(tmp_path / "l.jsonl", rows(web, 6))
    version = submitted(fetching.client, path, name="w", format="urls")
    assert (version.state, version.samples) == ("ready", 6)
    assert {path: count for path, count in web.asked.items() if path.endswith(".png")} == {
        f"/{n}.png": 1 for n in range(6)
    }


def test_a_list_that_could_not_be_fetched_is_tried_again_when_it_is_submitted_again(
    fetching: EmbeddedPlatform, web: ImagesWeb, tmp_path: Path
) -> None:
    """The site was down, and is back: the same submission becomes ready."""
    held = dict(web.pages)
    web.pages.clear()
    path = jsonl(tmp_path / "l.jsonl", rows(web))
    failed = submitted(fetching.client, path, name="w", format="urls")
    assert (failed.state, failed.rejected) == ("failed", {"http-status": 4})
    web.pages.update(held)
    until(lambda: submitted(fetching.client, path, name="w", format="urls").state == "ready")
    assert fetching.client.datasets.version("w").samples == 4


def test_a_list_is_fetched_anew_where_that_is_said(
    fetching: EmbeddedPlatform, web: ImagesWeb, tmp_path: Path
) -> None:
    """What was gone the first time may have come back; the first version stays."""
    path = jsonl(tmp_path / "l.jsonl", rows(web))
    gone = web.pages.pop("/3.png")
    assert submitted(fetching.client, path, name="w", format="urls").samples == 3
    web.pages["/3.png"] = gone
    assert submitted(fetching.client, path, name="w", format="urls").version == 1
    again = submit(fetching.client, path, name="w", format="urls", again=True, poll_seconds=0.02)
    assert (again.version, again.samples) == (2, 4)
