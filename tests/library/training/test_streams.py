"""Sources as streams: any sample in any order, with the memory of a few shards."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import numpy as np
import pytest

from tests.support.datasets.samples import image
from tests.support.training.inputs import world
from vila2.data.assembly import AssemblyCounts
from vila2.data.errors import Damaged, ShardError
from vila2.data.index import SUFFIX, encode_index
from vila2.data.layers import CAPTIONED, QUARANTINED, CaptionRow, encode_layer_shard
from vila2.data.random_access import OpenShard, shard_size
from vila2.data.shards import index_shard, read_shard, write_shard
from vila2.schemas.assembly import Assembly
from vila2.schemas.stored import Stored
from vila2.schemas.train_spec import Source
from vila2.training.batches.images import DecodedImages
from vila2.training.batches.sampler import Visit
from vila2.training.batches.streams import SourceStream


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(world(tmp_path_factory.mktemp("world"))["corpus"])


@pytest.fixture(scope="module")
def shards(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The corpus in four shards."""
    folder, samples = tmp_path_factory.mktemp("shards"), list(read_shard(corpus))
    paths = []
    for number in range(4):
        buffer = io.BytesIO()
        write_shard(samples[12 * number : 12 * number + 12], buffer)
        paths.append(folder / f"{number:06d}-{number}.tar")
        paths[-1].write_bytes(buffer.getvalue())
    return paths


def layer(shards: list[Path], folder: Path) -> list[str]:
    """A caption for every sample but each shard's first, surer and surer."""
    paths = []
    for number, shard in enumerate(shards):
        rows = [
            CaptionRow(
                s.key, s.sha256, f"caption of {s.key}", QUARANTINED if n == 0 else CAPTIONED,
                "empty" if n == 0 else "", "p0", "", "m", 0, 0, 0.0, 4,
                -1.0 / (12 * number + n + 1), "stop",
            )
            for n, s in enumerate(read_shard(shard))
        ]  # fmt: skip
        path = folder / f"{number}.parquet"
        path.write_bytes(encode_layer_shard(rows)[0])
        paths.append(str(path))
    return paths


def stream(shards: list[Path], folder: Path, **fields: object) -> SourceStream:
    given = {"assembly": Assembly(policy="original"), **fields}
    return SourceStream(
        Source(name="web", shards=[str(s) for s in shards], **given), folder, seed=0
    )


def test_a_shard_gives_any_sample_without_the_others(corpus: Path, tmp_path: Path) -> None:
    held, shard = list(read_shard(corpus)), OpenShard(corpus, tmp_path)
    assert len(shard) == len(held) == shard_size(corpus, tmp_path)
    for row in (17, 3, 47):
        assert shard.image(row) == held[row].image
        assert shard.text(row).caption == held[row].caption
        assert shard.text(row).turns == held[row].turns


def test_the_index_is_made_once(corpus: Path, tmp_path: Path) -> None:
    OpenShard(corpus, tmp_path)
    (made,) = tmp_path.iterdir()
    written = made.stat().st_mtime_ns
    OpenShard(corpus, tmp_path)
    assert [path.stat().st_mtime_ns for path in tmp_path.iterdir()] == [written]


def test_an_index_beside_somebody_elses_tar_is_a_shard_too(corpus: Path, tmp_path: Path) -> None:
    tar, index = tmp_path / "theirs.tar", tmp_path / f"theirs{SUFFIX}"
    tar.write_bytes(corpus.read_bytes())
    index.write_bytes(encode_index(index_shard(corpus)[:5]))
    shard = OpenShard(index, tmp_path / "cache")
    assert len(shard) == 5
    assert shard.image(4) == next(s.image for n, s in enumerate(read_shard(corpus)) if n == 4)


def test_a_tar_that_was_cut_since_says_so(corpus: Path, tmp_path: Path) -> None:
    tar = tmp_path / "cut.tar"
    tar.write_bytes(corpus.read_bytes())
    shard = OpenShard(tar, tmp_path / "cache")
    with tar.open("r+b") as file:
        file.truncate(shard.rows[-1].offset + 1)
    with pytest.raises(ShardError, match=r"cut.tar is damaged: it ends within sample"):
        shard.image(len(shard) - 1)


def test_few_shards_stay_open(shards: list[Path], tmp_path: Path) -> None:
    made = stream(shards, tmp_path)
    made.keep = 24  # samples: two shards of twelve
    for number in (0, 1, 2, 3, 0):
        made.held(number)
    assert list(made._open) == [3, 0]


def test_who_reads_a_shard_that_is_let_go_reads_on(shards: list[Path], tmp_path: Path) -> None:
    made = stream(shards, tmp_path)
    first = made.held(0).shard
    made.held(1)
    assert first.image(0) == next(iter(read_shard(shards[0]))).image


def test_captions_go_with_their_samples(shards: list[Path], tmp_path: Path) -> None:
    made = stream(
        shards, tmp_path, layers={"self": layer(shards, tmp_path)},
        assembly=Assembly(policy="recaption", caption_layer="self", missing="original"),
    )  # fmt: skip
    counts = AssemblyCounts()
    sample = made.held(2).shard.text(5)
    assert made.text(Visit(0, 2, 5, 0), seed=0, counts=counts).plain == f"caption of {sample.key}"
    original = made.held(1).shard.text(0).caption
    assert made.text(Visit(0, 1, 0, 0), seed=0, counts=counts).plain == original
    assert (counts.samples, counts.missing) == (2, {"self": 1})


def test_a_share_of_the_captions_is_kept_over_all_shards(
    shards: list[Path], tmp_path: Path
) -> None:
    """The surest half: those of the later shards."""
    made = stream(
        shards, tmp_path, layers={"self": layer(shards, tmp_path)}, keep_fraction={"self": 0.5}
    )
    kept = [[c["self"] is not None for c in made.held(n).captions] for n in range(4)]
    assert [sum(row) for row in kept] == [0, 0, 11, 11]


def test_shuffled_captions_are_all_others(shards: list[Path], tmp_path: Path) -> None:
    made = stream(shards, tmp_path, layers={"self": layer(shards, tmp_path)}, shuffle_captions=True)
    held = made.held(1)
    given = [captions["self"] for captions in held.captions]
    own = [f"caption of {about.key}" for about in held.shard.rows]
    assert all(one != other for one, other in zip(given, own, strict=True))
    assert sorted(filter(None, given)) == sorted(own[1:])


def test_a_layer_of_another_number_of_shards_is_refused(shards: list[Path], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="layer 'self' has 3 shards, the dataset 4"):
        stream(shards, tmp_path, layers={"self": layer(shards, tmp_path)[:3]})


def test_decoded_images_are_kept_while_there_is_room(corpus: Path, tmp_path: Path) -> None:
    shard = OpenShard(corpus, tmp_path)
    kept, none = DecodedImages(size=32, memory=1), DecodedImages(size=32, memory=0)
    assert kept.get(shard, 0) is kept.get(shard, 0)
    assert none.get(shard, 0) is not none.get(shard, 0)
    assert np.array_equal(kept.get(shard, 0), none.get(shard, 0))
    assert kept.get(shard, 0).shape == (32, 32, 3)


def test_an_image_that_cannot_be_decoded_is_named(corpus: Path, tmp_path: Path) -> None:
    """Its version was submitted without its pixels being read."""
    assert image(1)  # the world's images are whole
    shard = OpenShard(corpus, tmp_path)
    tar = tmp_path / "broken.tar"
    data = bytearray(corpus.read_bytes())
    about = shard.rows[0]
    data[about.offset : about.offset + about.size] = bytes(about.size)
    tar.write_bytes(data)
    with pytest.raises(ValueError, match=f"sample {about.key}"):
        DecodedImages(size=32, memory=1).get(OpenShard(tar, tmp_path), 0)


@pytest.mark.parametrize("kind", ["shard", "captions"])
def test_a_damaged_object_is_not_trained_on(shards: list[Path], tmp_path: Path, kind: str) -> None:
    """The message names what it is and how it is restored."""
    copies = []
    for shard in shards:
        copies.append(tmp_path / shard.name)
        copies[-1].write_bytes(shard.read_bytes())
    paths = layer(copies, tmp_path)
    known = {
        path: Stored(
            what=f"{kind} {number} of web@2",
            sha256=hashlib.sha256(Path(path).read_bytes()).hexdigest(),
            restore="NAME",
        )
        for kind, listed in (("shard", [str(c) for c in copies]), ("captions", paths))
        for number, path in enumerate(listed)
    }
    changed = copies[1] if kind == "shard" else Path(paths[1])
    data = bytearray(changed.read_bytes())
    data[len(data) // 2] ^= 1
    changed.write_bytes(bytes(data))
    made = stream(copies, tmp_path, layers={"short": paths}, stored=known)
    made.held(0)
    with pytest.raises(Damaged, match=rf"{kind} 1 of web@2 is damaged.*restore\.sh BACKUP NAME"):
        made.held(1)


def test_an_image_that_changes_while_a_job_runs_is_noticed(
    shards: list[Path], tmp_path: Path
) -> None:
    """A shard stays open for hours."""
    path = tmp_path / "000000-x.tar"
    data = bytearray(shards[0].read_bytes())
    path.write_bytes(bytes(data))
    opened = OpenShard(path, tmp_path, Stored(what="shard 0 of web@2", sha256="x", restore="NAME"))
    opened.image(1)
    data[opened.rows[1].offset + 9] ^= 1
    with path.open("r+b") as out:
        out.write(bytes(data))
    opened.image(0)
    with pytest.raises(ShardError, match="shard 0 of web@2 is damaged"):
        opened.image(1)
