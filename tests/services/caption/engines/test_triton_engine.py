"""The engine on a real Triton server: it gives the embedded engine's answers, and survives."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import psutil
import pytest
from prometheus_client import REGISTRY

from services.caption.engines.embedded import EmbeddedEngines
from services.caption.engines.engine import EngineUnavailable, ModelRefused
from services.caption.engines.triton import TritonEngines
from services.caption.engines.triton_connection import Connection
from tests.support.caption_engines import TritonServing, ignore, requests
from tests.support.models import tiny_preset
from tests.support.servers.triton import triton_server
from tests.support.waiting import until
from vila2.triton.server import TritonServer


@pytest.mark.server
def test_a_server_that_never_answered_tells_nothing(serving: TritonServing) -> None:
    """It may be of another version than the next."""
    nobody = TritonEngines(Connection("127.0.0.1:9"), serving.objects, serving.served)
    with pytest.raises(EngineUnavailable, match="does not answer"):
        nobody.info("models/m-0")


def test_nothing_is_in_flight_once_all_is_answered(serving: TritonServing) -> None:
    """The gauge is asked when it is looked at: an engine that is idle does not seem busy."""
    serving.engines.get("models/m-0").generate(requests(4), progress=ignore)
    assert REGISTRY.get_sample_value("vila2_engine_in_flight", {"model": "m-0"}) == 0
    assert (REGISTRY.get_sample_value("vila2_engine_window", {"model": "m-0"}) or 0) > 0


def test_triton_gives_the_embedded_engines_captions(
    serving: TritonServing, embedded: EmbeddedEngines
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


def test_a_model_whose_process_died_is_loaded_anew(serving: TritonServing) -> None:
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


def test_a_server_that_ended_by_itself_is_started_anew(serving: TritonServing) -> None:
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
    # Clients go on a moment before the keeper has counted.
    until(lambda: serving.keeper.restarts == before + 1)
    serving.server.kill()
    time.sleep(2.0)
    assert serving.keeper.restarts == before + 1
    serving.server.start()


def test_a_server_that_was_killed_and_started_again_is_gone_on_with(serving: TritonServing) -> None:
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


def test_a_server_that_stays_away_is_waited_for_and_then_given_up(serving: TritonServing) -> None:
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


def test_a_full_server_is_asked_for_less_at_a_time(serving: TritonServing) -> None:
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


def test_models_share_the_server_within_its_memory(serving: TritonServing) -> None:
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


def test_a_model_that_cannot_be_loaded_says_why(serving: TritonServing) -> None:
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
