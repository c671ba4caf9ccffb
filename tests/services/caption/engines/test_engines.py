"""What every engine must do: embedded, and on a real Triton server."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
from prometheus_client import REGISTRY

from services.caption.engines.embedded import EmbeddedEngines
from services.caption.engines.engine import Engines, EngineUnavailable, ModelRefused
from services.caption.engines.triton import TritonEngines
from services.caption.engines.triton_connection import Connection
from services.caption.tables import Base
from services.caption.triton.repository import EngineOptions
from services.caption.triton.served import ServedModels
from services.chassis.storage.database import Database
from services.chassis.storage.objects_directory import DirectoryObjects
from tests.support.models import tiny_preset
from tests.support.servers.triton import triton_server
from vila2.engine.requests import Generation, Request
from vila2.schemas.sampling import Sampling
from vila2.triton.keeper import Keeper
from vila2.triton.server import TritonServer

PATIENCE = 15.0


class Serving:
    """A Triton server with two models in reach, and engines that talk to it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.objects = DirectoryObjects(folder / "objects")
        for seed in (0, 1):
            tiny_preset.model(seed=seed).save(folder / f"m{seed}")
            self.objects.put_directory(f"models/m-{seed}", folder / f"m{seed}")
        self.server = triton_server(folder / "objects" / "serving")
        self.keeper = Keeper(self.server)
        self.keeper.start()
        self.database = Database.sqlite(folder / "served.sqlite", Base.metadata)
        self.connection = Connection(self.server.url)
        self.served = self.ledger()
        self.engines = self.of(self.served)

    def ledger(self, *, budget: int = 2**30) -> ServedModels:
        options = EngineOptions(batch_size=8, threads=1, max_waiting=40)
        return ServedModels(
            self.database, self.objects, self.connection, options=options, budget=budget
        )

    def of(self, served: ServedModels, *, patience: float = PATIENCE) -> TritonEngines:
        return TritonEngines(self.connection, self.objects, served, patience=patience)

    def close(self) -> None:
        self.engines.close()
        self.keeper.stop()
        self.database.close()


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    made = Serving(tmp_path_factory.mktemp("triton"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> EmbeddedEngines:
    folder = tmp_path_factory.mktemp("embedded")
    tiny_preset.model(seed=0).save(folder / "models" / "m-0")
    return EmbeddedEngines(lambda prefix: folder / prefix, batch_size=8)


@pytest.fixture(params=["embedded", pytest.param("triton", marks=pytest.mark.server)])
def engines(request: pytest.FixtureRequest, embedded: EmbeddedEngines) -> Engines:
    if request.param == "embedded":
        return embedded
    made: Serving = request.getfixturevalue("serving")
    return made.engines


def requests(count: int, *, temperature: float = 0.8) -> list[Request]:
    rng = np.random.default_rng(7)
    return [
        Request(
            rng.integers(0, 255, (32, 32, 3), dtype=np.uint8),
            "Describe it, <user> & all." if n % 2 else "what is this?",
            n,
            Sampling(temperature=temperature, top_p=0.9, max_new_tokens=1 + n * 5 % 13),
        )
        for n in range(count)
    ]


def ignore(_: int) -> None:
    """Progress that nobody watches."""


def test_engines_tell_what_computes(engines: Engines) -> None:
    """It goes into the recipe hash of every layer that they caption."""
    info = engines.info("models/m-0")
    assert info.kind in ("embedded", "triton-python")
    assert any(character.isdigit() for character in info.version)


@pytest.mark.server
def test_a_server_that_never_answered_tells_nothing(serving: Serving) -> None:
    """It may be of another version than the next."""
    nobody = TritonEngines(Connection("127.0.0.1:9"), serving.objects, serving.served)
    with pytest.raises(EngineUnavailable, match="does not answer"):
        nobody.info("models/m-0")


def test_answers_come_in_order_and_progress_reaches_all(engines: Engines) -> None:
    seen: list[int] = []
    asked = requests(50)
    answers = engines.get("models/m-0").generate(asked, progress=seen.append)
    assert len(answers) == 50
    assert (max(seen), seen) == (50, sorted(seen))
    assert all(
        a.tokens <= request.sampling.max_new_tokens
        for a, request in zip(answers, asked, strict=True)
    )
    assert all(a.prompt_tokens > 0 and a.finish_reason in ("stop", "length") for a in answers)


def test_the_same_question_gets_the_same_answer_alone(engines: Engines) -> None:
    engine = engines.get("models/m-0")
    asked = requests(12)
    together = [a.text for a in engine.generate(asked, progress=ignore)]
    alone = [engine.generate([request], progress=ignore)[0].text for request in asked]
    assert together == alone


def test_a_stream_is_pieces_of_the_answer_and_then_the_answer(engines: Engines) -> None:
    engine = engines.get("models/m-0")
    for request in requests(6, temperature=0.0):
        *pieces, last = engine.stream(request)
        (whole,) = engine.generate([request], progress=ignore)
        assert isinstance(last, Generation)
        assert "".join(str(piece) for piece in pieces).strip() == last.text == whole.text
        assert (last.tokens, last.finish_reason) == (whole.tokens, whole.finish_reason)


def test_many_callers_are_answered_at_once(engines: Engines) -> None:
    engine = engines.get("models/m-0")
    asked = requests(20)
    expected = [a.text for a in engine.generate(asked, progress=ignore)]
    made: list[list[str]] = []

    def call() -> None:
        made.append([a.text for a in engine.generate(asked, progress=ignore)])

    threads = [threading.Thread(target=call) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert made == [expected] * 5


def test_nothing_is_in_flight_once_all_is_answered(serving: Serving) -> None:
    """The gauge is asked when it is looked at: an engine that is idle does not seem busy."""
    serving.engines.get("models/m-0").generate(requests(4), progress=ignore)
    assert REGISTRY.get_sample_value("vila2_engine_in_flight", {"model": "m-0"}) == 0
    assert (REGISTRY.get_sample_value("vila2_engine_window", {"model": "m-0"}) or 0) > 0


def test_triton_gives_the_embedded_engines_captions(
    serving: Serving, embedded: EmbeddedEngines
) -> None:
    """The same weights and seeds: the same text, tokens and log-probabilities."""
    asked = requests(80)
    here = embedded.get("models/m-0").generate(asked, progress=ignore)
    there = serving.engines.get("models/m-0").generate(asked, progress=ignore)
    assert [(a.text, a.tokens, a.finish_reason, a.prompt_tokens) for a in here] == [
        (a.text, a.tokens, a.finish_reason, a.prompt_tokens) for a in there
    ]
    for one, other in zip(here, there, strict=True):
        assert one.logprob == pytest.approx(other.logprob, abs=1e-4)


def test_a_model_whose_process_died_is_loaded_anew(serving: Serving) -> None:
    """Triton goes on calling it ready, or it aborts where that process held a shared lock.

    Either way the requests of the moment are asked again.
    """
    engine = serving.engines.get("models/m-0")
    asked = requests(200)
    expected = [a.text for a in engine.generate(asked, progress=ignore)]
    killed = threading.Event()

    def strike(done: int) -> None:
        if done > 40 and not killed.is_set():
            killed.set()
            stub(serving.server).kill()

    assert [a.text for a in engine.generate(asked, progress=strike)] == expected
    assert killed.is_set()


def test_a_server_that_ended_by_itself_is_started_anew(serving: Serving) -> None:
    """Nobody's hand is needed, and one that was stopped on purpose stays down."""
    engine = serving.engines.get("models/m-0")
    asked = requests(150)
    expected = [a.text for a in engine.generate(asked, progress=ignore)]
    before, killed = serving.keeper.restarts, threading.Event()

    def strike(done: int) -> None:
        if done > 30 and not killed.is_set():
            killed.set()
            os.kill(serving.server.pid, signal.SIGABRT)

    assert [a.text for a in engine.generate(asked, progress=strike)] == expected
    assert serving.keeper.restarts == before + 1
    serving.server.kill()
    time.sleep(2.0)
    assert serving.keeper.restarts == before + 1
    serving.server.start()


def test_a_server_that_was_killed_and_started_again_is_gone_on_with(serving: Serving) -> None:
    """It knows no model then; nobody has to tell it."""
    engine = serving.engines.get("models/m-0")
    asked = requests(150)
    expected = [a.text for a in engine.generate(asked, progress=ignore)]
    killed = threading.Event()

    def restart() -> None:
        killed.wait()
        serving.server.kill()
        time.sleep(1.0)
        serving.server.start()

    thread = threading.Thread(target=restart)
    thread.start()

    def strike(done: int) -> None:
        if done > 30:
            killed.set()

    assert [a.text for a in engine.generate(asked, progress=strike)] == expected
    thread.join()


def test_a_server_that_stays_away_is_waited_for_and_then_given_up(serving: Serving) -> None:
    """The caller is told that it is not its fault, and nothing was asked in a storm."""
    engine = serving.of(serving.served, patience=1.5).get("models/m-0")
    serving.server.kill()
    try:
        began = time.monotonic()
        with pytest.raises(EngineUnavailable, match="inference server"):
            engine.generate(requests(20), progress=ignore)
        assert 1.0 < time.monotonic() - began < 12
        assert engine.window.limit <= 128
    finally:
        serving.server.start()


def test_a_full_server_is_asked_for_less_at_a_time(serving: Serving) -> None:
    """Its queue holds 40: two clients with windows of 256 are all answered."""
    engines = [serving.of(serving.served, patience=90.0).get("models/m-0") for _ in range(2)]
    for engine in engines:
        engine.window.limit = 256
    made: list[int] = []
    threads = [
        threading.Thread(
            target=lambda e=engine: made.append(len(e.generate(requests(100), progress=ignore)))
        )
        for engine in engines
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made == [100, 100]
    assert min(engine.window.limit for engine in engines) < 256


def test_models_share_the_server_within_its_memory(serving: Serving) -> None:
    """Beyond it the one that was not used for long goes, and one that is in use does not."""
    serving.engines.get("models/m-0")
    serving.engines.get("models/m-1")
    sizes = {row.prefix: row.bytes for row in serving.served.held()}
    assert set(sizes) == {"models/m-0", "models/m-1"}
    tight = serving.ledger(budget=int(max(sizes.values()) * 1.5))
    asked_long_ago = time.time() - 1000
    for prefix in sizes:
        serving.served._set(prefix, used_at=asked_long_ago, state="unloaded", since=0.0)
        serving.connection.unload(prefix.rpartition("/")[2])
    tight.ensure("models/m-0")
    with pytest.raises(EngineUnavailable, match=r"m-1 needs .* MiB .* uses m-0"):
        tight.ensure("models/m-1")
    tight._set("models/m-0", used_at=asked_long_ago)
    tight.ensure("models/m-1")
    assert [row.prefix for row in tight.held()] == ["models/m-1"]


def test_a_model_that_cannot_be_loaded_says_why(serving: Serving) -> None:
    """Weights that are cut off: Triton's reason, and no third attempt by each caller."""
    broken = serving.folder / "broken"
    tiny_preset.model(seed=0).save(broken)
    weights = next(broken.glob("*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:1000])
    serving.objects.put_directory("models/m-9", broken)
    for _ in range(2):
        with pytest.raises(ModelRefused, match="Triton cannot load"):
            serving.engines.get("models/m-9")


def stub(server: TritonServer) -> psutil.Process:
    """The process of the first model that the server runs."""
    found = [
        child
        for child in psutil.Process(server.pid).children(recursive=True)
        if "python_backend_stub" in child.name()
        or "python_backend_stub" in " ".join(child.cmdline())
    ]
    assert found
    return found[0]


@pytest.mark.server
def test_the_server_leaves_nothing_behind(tmp_path: Path) -> None:
    """Killed at once: none of its session's processes, no shared memory."""
    server = triton_server(tmp_path / "serving")
    server.start()
    pid = server.pid
    os.kill(pid, signal.SIGKILL)
    server.kill()
    assert not psutil.pid_exists(pid)
    with pytest.raises(ProcessLookupError):
        os.killpg(pid, 0)
    assert not list(Path("/dev/shm").glob(f"vila2_{server.grpc_port}_*"))
