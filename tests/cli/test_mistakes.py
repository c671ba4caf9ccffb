"""What a person has typed wrong is one line that names it, and never a traceback."""

from __future__ import annotations

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
        (["keys", "create", "--role", "viewer", "--days", "-1"], "expires-in-days: "),
        (["datasets", "submit", "nowhere", "--name", "Ünï ç"], "name: "),
        (["export", "photos", "out", "--text", "original", "--format", "nope"], "unknown format"),
        (["export", "photos", "out"], "--text original exports without one"),
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
