from __future__ import annotations

import io

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.datasets.tables import VersionRow, WorkUnitRow
from services.platform.embedded import EmbeddedPlatform
from tests.support.datasets.samples import image, tar_of
from tests.support.waiting import until
from vila2.client import ApiError, Client
from vila2.data.sample import RawSample
from vila2.data.shards import write_raw_shard
from vila2.schemas.rest.datasets import DatasetIn, Version, VersionIn


def part(*numbers: int) -> bytes:
    out = io.BytesIO()
    write_raw_shard([RawSample(f"p{n}", f"p{n}.png", image(n), f"fox {n}") for n in numbers], out)
    return out.getvalue()


def opened(client: Client, *, token: str | None = None) -> Version:
    client.datasets.create(DatasetIn(name="foxes", kind="pairs"))
    return client.datasets.open_version("foxes", VersionIn(), token)


def ingested(client: Client, number: int = 1) -> Version:
    client.datasets.seal_version("foxes", number)
    until(lambda: client.datasets.version("foxes", number).state != "ingesting")
    return client.datasets.version("foxes", number)


def test_a_part_that_is_sent_twice_is_there_once(client: Client) -> None:
    """A client that got no answer sends it again."""
    opened(client)
    for _ in range(2):
        assert client.datasets.put_part("foxes", 1, 0, part(0, 1)).parts == [0]
    assert ingested(client).samples == 2


def test_a_part_that_is_sent_again_with_other_content_takes_its_place(client: Client) -> None:
    """Until the version is sealed; nothing of the first is ingested."""
    opened(client)
    client.datasets.put_part("foxes", 1, 0, part(0, 1, 2))
    client.datasets.put_part("foxes", 1, 0, part(7))
    assert ingested(client).samples == 1


def test_parts_may_come_in_any_order(client: Client) -> None:
    """The version's digest is of the parts by number, not by arrival."""
    parts = {number: part(number) for number in range(3)}
    digests = set()
    for version, order in ((1, (0, 1, 2)), (2, (2, 0, 1))):
        opened(client)
        for number in order:
            client.datasets.put_part("foxes", version, number, parts[number])
        digests.add(ingested(client, version).sha256)
    assert len(digests) == 1


def test_a_token_continues_the_version_that_it_opened(client: Client) -> None:
    """An upload that broke off goes on where it was."""
    opened(client, token="t")
    client.datasets.put_part("foxes", 1, 0, part(0))
    again = opened(client, token="t")
    assert (again.version, again.parts) == (1, [0])
    assert opened(client, token="another").version == 2


def test_a_ready_version_takes_no_more_parts(client: Client) -> None:
    """It is immutable; the same part again is no change, a new one is refused."""
    opened(client)
    client.datasets.put_part("foxes", 1, 0, part(0))
    ready = ingested(client)
    assert client.datasets.put_part("foxes", 1, 0, part(0)) == ready
    for number in (0, 1):
        with pytest.raises(ApiError, match="Open a new version") as refused:
            client.datasets.put_part("foxes", 1, number, part(5))
        assert refused.value.problem.status == 409
    assert client.datasets.seal_version("foxes", 1) == ready


def test_a_version_without_parts_cannot_be_sealed(client: Client) -> None:
    """It would be empty."""
    opened(client)
    with pytest.raises(ApiError, match="has no parts") as refused:
        client.datasets.seal_version("foxes", 1)
    assert refused.value.problem.status == 409


@pytest.mark.parametrize("data", [
    b"not a tar", b"", part(0)[:700], tar_of(("../../etc/passwd", b"x")), tar_of(("/x", b"x")),
    tar_of(("a.bin", b"x"), mode="w:gz"),
], ids=["text", "nothing", "a piece", "a way out", "from the root", "compressed"])  # fmt: skip
def test_a_part_that_is_no_plain_tar_is_refused_with_what_to_do(
    client: Client, data: bytes
) -> None:
    """At the upload, not when the version is ingested."""
    opened(client)
    with pytest.raises(ApiError) as refused:
        client.datasets.put_part("foxes", 1, 0, data)
    problem = refused.value.problem
    assert (problem.status, problem.field) == (422, "body")
    assert problem.fix
    assert client.datasets.version("foxes", 1).parts == []


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.binary(max_size=600), at=st.integers(0, 1500))
def test_no_upload_breaks_the_service(client: Client, data: bytes, at: int) -> None:
    """Whatever bytes are in a tar, the answer is a version or a refusal."""
    opened(client, token="fuzz")
    good = part(0)
    status = 200
    try:
        client.datasets.put_part("foxes", 1, 0, good[:at] + data + good[at + len(data) :])
    except ApiError as error:
        status = error.problem.status
    assert status in (200, 422)


def test_a_tar_whose_members_are_malformed_fails_the_version_with_the_member(
    client: Client,
) -> None:
    """What only reading can show is told by the version."""
    opened(client)
    client.datasets.put_part("foxes", 1, 0, tar_of(("00000001.json", b'{"key": 7}')))
    version = ingested(client)
    assert version.state == "failed"
    assert "00000001" in version.error


def given_up(platform: EmbeddedPlatform) -> None:
    """A version whose ingest failed for good though nothing is wrong with its data."""
    opened(platform.client)
    platform.client.datasets.put_part("foxes", 1, 0, part(0))
    unit = WorkUnitRow(
        id="ingest-1",
        task="datasets.ingest",
        subject="version-1",
        payload={"version_id": 1},
        state="failed",
        error="OSError: disk full",
    )
    with platform.apps["datasets"].state.context.database.transaction() as session:
        session.get_one(VersionRow, 1).state = "ingesting"
        session.add(unit)


def test_a_version_whose_ingest_gave_up_says_that_it_failed(platform: EmbeddedPlatform) -> None:
    """Nobody waits for ever for a version that no worker will finish."""
    given_up(platform)
    version = platform.client.datasets.version("foxes", 1)
    assert (version.state, version.error) == ("failed", "OSError: disk full")


def test_sealing_a_version_whose_ingest_gave_up_tries_again(platform: EmbeddedPlatform) -> None:
    """The submission is repeated once the disk has room, and finds its parts."""
    given_up(platform)
    assert ingested(platform.client).state == "ready"
