"""The client asks again where a reply is lost, and the work is done once all the same."""

from __future__ import annotations

import httpx2
import pytest

from services.platform.embedded import EmbeddedPlatform
from vila2.client import ApiError, Unreachable
from vila2.client import http as rest
from vila2.client.training import TrainingClient
from vila2.schemas.rest.training import JobIn, TrainIn
from vila2.system.request_id import request_id


class LosesReplies(httpx2.BaseTransport):
    """Carries requests out, and breaks the connection before the first `lost` replies arrive."""

    def __init__(self, inner: httpx2.BaseTransport, lost: int) -> None:
        self._inner, self._lost = inner, lost
        self.sent: list[httpx2.Request] = []

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        self.sent.append(request)
        reply = self._inner.handle_request(request)
        if len(self.sent) <= self._lost:
            raise httpx2.ReadError("the connection broke")
        return reply


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rest, "_PAUSES", (0.0, 0.0))
    monkeypatch.setattr(rest, "_RESTART_PAUSES", (0.0, 0.0))


def client_that_loses(platform: EmbeddedPlatform, lost: int) -> tuple[TrainingClient, LosesReplies]:
    transport = LosesReplies(platform.transport("training"), lost)
    http = httpx2.Client(
        base_url="http://training/",
        headers={"authorization": f"Bearer {platform.key}"},
        transport=transport,
    )
    return TrainingClient(http), transport


def a_job() -> JobIn:
    return JobIn(name="retries", train=TrainIn(init="base", preset="tiny", model="none"))


def test_what_a_post_created_is_found_when_its_reply_is_lost(platform: EmbeddedPlatform) -> None:
    """The same key is sent again; one job is there in the end."""
    client, transport = client_that_loses(platform, lost=2)
    job = client.submit(a_job())
    keys = {request.headers["idempotency-key"] for request in transport.sent}
    assert (len(transport.sent), len(keys)) == (3, 1)
    held = [each.id for each in platform.client.training.jobs() if each.name == job.name]
    assert held == [job.id]
    platform.client.training.cancel(job.id)


def test_what_is_created_without_a_token_has_a_key_of_its_own(platform: EmbeddedPlatform) -> None:
    client, transport = client_that_loses(platform, lost=0)
    for job in (client.submit(a_job()), client.submit(a_job())):
        platform.client.training.cancel(job.id)
    first, second = (request.headers["idempotency-key"] for request in transport.sent)
    assert first != second


def test_an_action_whose_reply_is_lost_is_not_sent_again(platform: EmbeddedPlatform) -> None:
    """A second retry of a job would be refused, though the first one was done."""
    client, transport = client_that_loses(platform, lost=1)
    with pytest.raises(Unreachable):
        client.retry("job-none")
    assert len(transport.sent) == 1


def test_a_reply_that_is_lost_for_good_is_silence(platform: EmbeddedPlatform) -> None:
    client, transport = client_that_loses(platform, lost=9)
    with pytest.raises(Unreachable, match="the connection broke"):
        client.quota()
    assert len(transport.sent) == 3


@pytest.mark.parametrize("name", ["", ".", "..", "a/details", "../quotas/red"])
def test_a_name_leads_to_no_other_path(platform: EmbeddedPlatform, name: str) -> None:
    client, transport = client_that_loses(platform, lost=0)
    with pytest.raises(ApiError) as refused:
        client.model(name)
    assert refused.value.problem.status == 404
    assert transport.sent == []


def test_the_id_of_a_request_is_passed_on_to_what_is_asked_within_it(
    platform: EmbeddedPlatform,
) -> None:
    client, transport = client_that_loses(platform, lost=0)
    token = request_id.set("asked-by-a-test")
    try:
        client.quota()
    finally:
        request_id.reset(token)
    assert transport.sent[0].headers["x-request-id"] == "asked-by-a-test"


def test_a_problem_of_another_service_has_the_id_of_the_first_request(
    platform: EmbeddedPlatform,
) -> None:
    """The caption service asks the registry for the model, which has none."""
    body = {"model": "none", "prompts": ["?"], "dataset": "foxes", "keys": ["p0"]}
    with pytest.raises(ApiError) as refused:
        platform.client.caption.send(
            "POST", "previews", json=body, headers={"x-request-id": "given-by-a-test"}
        )
    problem = refused.value.problem
    assert (problem.status, problem.field) == (404, "model")
    assert problem.request_id == "given-by-a-test"


class Restarts(httpx2.BaseTransport):
    """Refuses connections as often as `refused` says, and then answers."""

    def __init__(self, inner: httpx2.BaseTransport) -> None:
        self._inner, self.refused, self.asked = inner, 0, 0

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        self.asked += 1
        if self.refused:
            self.refused -= 1
            raise httpx2.ConnectError("connection refused")
        return self._inner.handle_request(request)


def test_a_service_that_has_answered_is_waited_for_while_it_restarts(
    platform: EmbeddedPlatform,
) -> None:
    """A long upload does not end with a restart, and an action is not done twice."""
    transport = Restarts(platform.transport("training"))
    http = httpx2.Client(
        base_url="http://training/",
        headers={"authorization": f"Bearer {platform.key}"},
        transport=transport,
    )
    client = TrainingClient(http)
    transport.refused = 1
    with pytest.raises(Unreachable, match="running"):
        client.quota()  # it has never answered: the address may be wrong
    client.quota()
    transport.refused = 2
    client.quota()
    transport.refused = 3
    with pytest.raises(Unreachable):
        client.quota()
    assert transport.asked == 1 + 1 + 3 + 3
