"""Models that cannot be added: each is refused with what is wrong, and nothing is left behind."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from services.platform.embedded import EmbeddedPlatform
from services.training.registry.import_steps import disc_image
from services.training.tables import ModelImportRow
from tests.support.tiny_families import build
from tests.support.waiting import until
from vila2.client import ApiError
from vila2.client.add_model import ModelRefused, add_directory, fetch_from_hub, files_of
from vila2.data.errors import DataError
from vila2.model.digest import file_digest
from vila2.model.weight_files import INDEX
from vila2.schemas.rest import model_imports as api
from vila2.schemas.rest.caption import CaptionsIn, Preview
from vila2.schemas.rest.problem import Problem

WEIGHTS = "model.safetensors"
Change = Callable[[Path], None]


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("Qwen2.5-VL", tmp_path_factory.mktemp("good") / "model")


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPlatform]:
    with EmbeddedPlatform(tmp_path_factory.mktemp("refused") / "w") as opened:
        yield opened


@pytest.fixture
def folder(good: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(good, tmp_path / "model"))


def removed(*names: str) -> Change:
    def change(folder: Path) -> None:
        for name in names:
            (folder / name).unlink(missing_ok=True)

    return change


def cut(folder: Path) -> None:
    """As a download that ended early."""
    data = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(data[: len(data) * 3 // 4])


def pointer(folder: Path) -> None:
    (folder / WEIGHTS).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n")


def not_finite(folder: Path) -> None:
    weights = load_file(folder / WEIGHTS)
    name = sorted(weights)[0]
    weights[name] = np.full_like(weights[name], np.nan)
    save_file(weights, folder / WEIGHTS, {"format": "pt"})


def lacking(folder: Path) -> None:
    weights = load_file(folder / WEIGHTS)
    del weights[next(name for name in sorted(weights) if "layers.1" in name)]
    save_file(weights, folder / WEIGHTS, {"format": "pt"})


def half_a_shard(folder: Path) -> None:
    """The index names a second file, which was not downloaded."""
    names = dict.fromkeys(load_file(folder / WEIGHTS), "model-00001-of-00002.safetensors")
    names["lm_head.weight"] = "model-00002-of-00002.safetensors"
    (folder / WEIGHTS).rename(folder / "model-00001-of-00002.safetensors")
    (folder / INDEX).write_text(json.dumps({"weight_map": names}))


def of_its_own_code(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "my_model", "auto_map": {"AutoModel": "modeling.MyModel"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "modeling.py").write_text("raise SystemExit('this code was run')")


def without_template(folder: Path) -> None:
    removed("chat_template.jinja", "chat_template.json")(folder)
    for name in ("tokenizer_config.json", "processor_config.json"):
        if (folder / name).is_file():
            held = json.loads((folder / name).read_text())
            held.pop("chat_template", None)
            (folder / name).write_text(json.dumps(held))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (cut, r"model\.safetensors is damaged or cut"),
        (pointer, "Git LFS pointer"),
        (not_finite, r"not finite: 1 weights|not finite: \S+"),
        (lacking, r"lacks \S*layers\.1"),
        (half_a_shard, r"model-00002-of-00002\.safetensors is missing"),
        (of_its_own_code, "my_model"),
        (removed("preprocessor_config.json", "processor_config.json"), "holds no image processor"),
        (without_template, "chat template"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_is_wrong_with_a_directory_is_told(
    platform: EmbeddedPlatform, folder: Path, change: Change, told: str
) -> None:
    change(folder)
    with pytest.raises(ModelRefused, match=told) as refused:
        add_directory(platform.client, folder, name="broken")
    assert str(platform.workspace) not in str(refused.value)
    assert platform.client.training.models() == []
    objects = platform.workspace / "objects"
    assert not any(path.is_file() for path in (objects / "models").rglob("*"))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (removed(WEIGHTS), "holds no weights"),
        (removed("config.json"), r"holds no config\.json"),
        (lambda folder: (folder / WEIGHTS).rename(folder / "pytorch_model.bin"), "can run code"),
    ],
    ids=["no weights", "no config", "pickles"],
)
def test_a_directory_that_holds_no_model_is_refused_before_anything_is_sent(
    folder: Path, change: Change, told: str
) -> None:
    change(folder)
    with pytest.raises(DataError, match=told):
        files_of(folder)


def test_code_and_pickles_beside_the_weights_are_not_sent(folder: Path) -> None:
    for name in ("modeling.py", "optimizer.pt", "training_args.bin", "events.out"):
        (folder / name).write_text("x")
    assert {path.suffix for path in files_of(folder)} <= {".json", ".safetensors", ".jinja", ".txt"}


def test_a_model_may_be_added_again_once_it_was_mended(
    platform: EmbeddedPlatform, good: Path, folder: Path
) -> None:
    """And the same files under the same name are the same model."""
    cut(folder)
    with pytest.raises(ModelRefused):
        add_directory(platform.client, folder, name="mended")
    shutil.copy(good / WEIGHTS, folder / WEIGHTS)
    first = add_directory(platform.client, folder, name="mended")
    assert add_directory(platform.client, folder, name="mended").model == first.model


def test_a_name_that_is_taken_is_refused(
    platform: EmbeddedPlatform, good: Path, folder: Path
) -> None:
    add_directory(platform.client, good, name="taken")
    weights = load_file(folder / WEIGHTS)
    save_file({name: value * 1.01 for name, value in weights.items()}, folder / WEIGHTS,
              {"format": "pt"})  # fmt: skip
    with pytest.raises(ApiError, match="the name taken is taken by taken-") as refused:
        add_directory(platform.client, folder, name="taken")
    assert refused.value.problem.field == "name"


def test_a_model_that_is_removed_frees_its_name_and_its_files(
    platform: EmbeddedPlatform, good: Path
) -> None:
    """Its entry stays for the captions that name it; it cannot be asked, and may be added again."""
    client = platform.client
    made = add_directory(client, good, name="passing")
    assert client.training.remove_model("passing").removed
    assert not list((platform.workspace / "objects" / "models" / made.model).glob("*"))
    assert client.training.model(made.model).removed
    assert "passing" not in [model.short_name for model in client.training.models()]
    with pytest.raises(ApiError, match="was removed"):
        client.caption.captions(
            CaptionsIn(model=made.model, images=[disc_image()], prompts=["what?"])
        )
    again = add_directory(client, good, name="passing")
    assert (again.model, again.answer) == (made.model, made.answer)
    assert not client.training.model("passing").removed


def test_an_upload_that_was_interrupted_goes_on_with_the_missing_pieces(
    platform: EmbeddedPlatform, good: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("vila2.client.add_model", "vila2.schemas.rest.model_imports"):
        monkeypatch.setattr(f"{module}.PIECE_BYTES", 100_000)
    client, sent = platform.client, []
    put = client.training.put_model_piece

    def tracked(import_id: str, file: str, piece: int, data: bytes) -> None:
        if len(sent) == 5:
            raise ConnectionError("the line is down")
        sent.append((file, piece))
        put(import_id, file, piece, data)

    monkeypatch.setattr(client.training, "put_model_piece", tracked)
    with pytest.raises(ConnectionError):
        add_directory(client, good, name="resumed")
    first, sent = list(sent), []
    monkeypatch.setattr(
        client.training, "put_model_piece", lambda *a: (sent.append(a[1:3]), put(*a))
    )
    assert add_directory(client, good, name="resumed").state == "ready"
    assert not set(first) & set(sent)


def test_an_import_whose_process_was_killed_goes_on_at_the_next_start(
    good: Path, tmp_path: Path
) -> None:
    """A platform alone on its workspace does not wait for the lease of the one before."""
    with EmbeddedPlatform(tmp_path / "w") as first:
        made = add_directory(first.client, good, name="killed")
        context = first.apps["training"].state.context
        context.importer.stop()
        with context.registry._database.transaction() as session:
            row = session.get_one(ModelImportRow, made.id)
            row.state, row.lease_until = "working", time.time() + 900
    with EmbeddedPlatform(tmp_path / "w") as again:
        until(lambda: again.client.training.model_import(made.id).state != "working", seconds=10)


@pytest.mark.parametrize(("status", "state"), [(429, "waiting"), (500, "failed"), (503, "failed")])
def test_an_import_that_must_wait_delays_no_other(
    good: Path,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    status: int,
    state: str,
) -> None:
    """It waits only for what passes by itself; anything else is told."""
    told = ApiError(Problem(type="about:blank", title="no", status=status, detail="not now"))
    with EmbeddedPlatform(tmp_path / "w") as opened:
        asked = opened.client.caption.captions

        def captions(body: CaptionsIn) -> Preview:
            if body.model.startswith("first"):
                raise told
            return asked(body)

        monkeypatch.setattr(type(opened.client.caption), "captions", lambda _, body: captions(body))
        files = [
            api.WeightFile(name=path.name, bytes=path.stat().st_size, sha256=file_digest(path))
            for path in files_of(good)
        ]
        training = opened.client.training
        first = training.add_model(api.ModelIn(name="first", files=files))
        for path in files_of(good):
            training.put_model_piece(first.id, path.name, 0, path.read_bytes())
        training.finish_model_import(first.id)
        weights = load_file(folder / WEIGHTS)
        save_file({name: value * 1.01 for name, value in weights.items()}, folder / WEIGHTS,
                  {"format": "pt"})  # fmt: skip
        assert add_directory(opened.client, folder, name="second").state == "ready"
        held = training.model_import(first.id)
        assert (held.state, "not now" in held.phase + held.error) == (state, True)


def test_a_command_ends_while_an_import_is_in_progress(good: Path, tmp_path: Path) -> None:
    """Its platform takes the import up, and leaves it to the next when the command is done."""
    with EmbeddedPlatform(tmp_path / "w") as first:
        made = add_directory(first.client, good, name="left")
        context = first.apps["training"].state.context
        context.importer.stop()
        with context.registry._database.transaction() as session:
            session.get_one(ModelImportRow, made.id).state = "waiting"
    for _ in range(3):
        command = [sys.executable, "-m", "vila2.cli.main", "datasets", "list", "-w", tmp_path / "w"]
        subprocess.run(command, check=True, capture_output=True, timeout=90)


def test_pieces_that_were_not_declared_are_refused(platform: EmbeddedPlatform, good: Path) -> None:
    files = [
        api.WeightFile(name=path.name, bytes=path.stat().st_size, sha256=file_digest(path))
        for path in files_of(good)
    ]
    training = platform.client.training
    made = training.add_model(api.ModelIn(name="pieces", files=files))
    for file, piece, data, told in (
        ("other.json", 0, b"x", "no file"),
        (WEIGHTS, 9, b"x", "has 1 pieces"),
        (WEIGHTS, 0, b"x", "has 1 bytes instead of"),
    ):
        with pytest.raises(ApiError, match=told):
            training.put_model_piece(made.id, file, piece, data)
    with pytest.raises(ApiError, match="is not complete"):
        training.finish_model_import(made.id)


@pytest.mark.parametrize("name", ["../x.json", "a/b.json", ".hidden.json", "x.py", "x.bin"])
def test_a_file_that_is_no_model_s_is_refused_by_its_name(name: str) -> None:
    file = {"name": name, "bytes": 1, "sha256": "ab" * 32}
    weights = {"name": WEIGHTS, "bytes": 1, "sha256": "ab" * 32}
    with pytest.raises(ValueError, match=r"files|pattern"):
        api.ModelIn.model_validate({"name": "m", "files": [weights, file]})


def test_without_a_network_the_hub_says_what_to_copy_where(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(DataError, match="hf download org/model --local-dir DIR"):
        fetch_from_hub("org/model")
