"""What a person has typed wrong is one line that names it, and never a traceback."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

import pytest

from services.platform.embedded import EmbeddedPlatform
from vila2.cli.main import main


def said(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> str:
    monkeypatch.setattr(sys, "argv", ["vila2", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    told = capsys.readouterr().err
    assert told.startswith("error: ")
    return told


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (["teams", "limits", "red", "--requests-per-minute", "0"], "requests-per-minute: "),
        (["teams", "limits", "red", "--gpu-hours", "much"], "give a number, or none"),
        (["teams", "limits", "red", "--gpu-hours", "inf"], "gpu-hours: "),
        (["runs", "estimate", "tiny", "--price", "inf"], "price-per-hour: "),
        (["keys", "create", "--role", "viewer", "--days", "-1"], "expires-in-days: "),
        (["datasets", "submit", "nowhere", "--name", "Ünï ç"], "name: "),
        (["export", "photos", "out", "--text", "original", "--format", "nope"], "unknown format"),
        (["export", "photos", "out"], "--text original exports without one"),
        (
            ["datasets", "submit", ".", "--name", "x", "--format", "tfrecord"],
            "Use one of folder",
        ),
        (["datasets", "submit", ".", "--name", "x", "--format", "nope"], "unknown format"),
        (
            ["models", "plan", "--preset", "tiny", "--gpus", "1", "--samples", "sft=inf"],
            "is not a number",
        ),
        (["runs", "list", "--url", "nonsense"], "http://127.0.0.1:8620"),
        (["runs", "list", "--url", "ftp://here"], "http://127.0.0.1:8620"),
        (["runs", "list", "--url", "http://[::1"], "http://127.0.0.1:8620"),
        (["runs", "list", "--url", "datasets=http://here"], "list all of"),
        (["runs", "list", "--url", "http://127.0.0.1:9", "--key", "ü"], "--key"),
        (["runs", "list", "--url", "http://127.0.0.1:9", "--key", "a.b"], "is `vila2 up` running?"),
        (["runs", "list", "--url", "http://127.0.0.1:9"], "give --key"),
        (["runs", "start", "--recipe", "tiny", "--detach"], "vila2 datasets submit"),
        (["runs", "list", "-w", "/dev/null"], "/dev/null"),
        (["up", "--host", "256.1.1.1"], "correct --host"),
        (["recipes", "show"], "name a recipe"),
        (["recipes", "check", "latin.yaml"], "not text in UTF-8"),
        (["recipes", "check", "twice.yaml"], "`seed` stands in line 1 and again in line 3"),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value[:2]),
)
def test_what_was_typed_wrong_is_named(
    arguments: list[str],
    names: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("latin.yaml").write_bytes("name: café".encode("latin-1"))
    Path("twice.yaml").write_text("seed: 0\nname: x\nseed: 1\n")
    assert names in said(arguments, monkeypatch, capsys)


def test_a_port_in_use_is_said_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before the platform is started."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        told = said(["up", "--port", port, "-w", str(tmp_path / "w")], monkeypatch, capsys)
    assert f"port {port} of 127.0.0.1 is in use" in told
    assert "--port" in told
    assert not (tmp_path / "w").exists()


@pytest.mark.skipif(os.getuid() == 0, reason="root may listen on any port")
def test_a_port_for_root_alone_is_said_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "above 1023" in said(["up", "--port", "80"], monkeypatch, capsys)


def test_a_folder_that_cannot_be_written_to_leaves_no_record_of_an_export(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Take-downs go by these records: one of what never left would be followed up for nothing."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "here").touch()
    told = said(["export", "photos", "out", "--text", "original"], monkeypatch, capsys)
    assert "not an empty folder" in told
    with EmbeddedPlatform(tmp_path / ".vila2") as platform:
        assert platform.client.datasets.exports() == []
