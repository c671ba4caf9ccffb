"""Submissions that a reader may take in two ways: odd files, names, links, tables and formats."""

from __future__ import annotations

import json
import os
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from tests.support.datasets.samples import encoded, image, tar_of

NFC, NFD = "Fußgänger.png", unicodedata.normalize("NFD", "Fußgänger.png")


def write(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def table(root: Path, *names: str) -> None:
    rows = "".join(f"{name},about {n}\n" for n, name in enumerate(names))
    write(root / "captions.csv", f"image,caption\n{rows}".encode("utf-8", "surrogateescape"))


def talks(*names: str) -> bytes:
    return json.dumps([
        {"id": name, "image": name, "conversations": [
            {"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": f"it is {n}"}]}
        for n, name in enumerate(names)
    ]).encode()  # fmt: skip


def beside(root: Path) -> Path:
    for n in range(3):
        write(root / f"d/p{n}.png", image(n))
        write(root / f"d/p{n}.txt", f"fox {n}".encode())
    write(root / "notes.pdf", b"x")
    return root


def empty_files(root: Path) -> Path:
    """0 bytes of an image, of a text, of both."""
    beside(root)
    write(root / "d/p0.png", b"")
    write(root / "d/p1.txt", b"")
    write(root / "both.png", b"")
    write(root / "both.txt", b"")
    return root


def odd_names(root: Path) -> Path:
    """Long ones, backslashes, control characters, bytes that are not UTF-8, and plain ones."""
    names = ["n" * 230 + ".png", "back\\slash.png", "tab\there.png", "a/" * 90 + "deep.png",
             os.fsdecode(b"caf\xe9.png"), "plain.png", "per%cent #?.png"]  # fmt: skip
    for n, name in enumerate(names):
        write(root / name, image(n))
        write((root / name).with_suffix(".txt"), f"fox {n}".encode())
    return root


def links(root: Path) -> Path:
    """To a file inside, outside and nowhere; in a circle; to a folder."""
    beside(root)
    outside = write(root.with_name("outside") / "o.png", image(7))
    (root / "inside.png").symlink_to("d/p0.png")
    (root / "out.png").symlink_to(outside)
    (root / "none.png").symlink_to("nothing.png")
    (root / "circle.png").symlink_to("circle.png")
    (root / "folder").symlink_to(outside.parent)
    for name in ("inside", "out", "none", "circle"):
        write(root / f"{name}.txt", name.encode())
    return root


def links_in_a_table(root: Path) -> Path:
    links(root)
    table(root, "d/p0.png", "d/p1.png", "out.png", "none.png", "circle.png", "../outside/o.png",
          ".hidden.png", "nowhere.png")  # fmt: skip
    write(root / ".hidden.png", image(9))
    return root


def forms(root: Path) -> Path:
    """Names in one Unicode form, and in the table in another."""
    write(root / NFD, image(0))
    write(root / "images" / f"x{NFC}", image(1))
    table(root, NFC, "x" + NFD)
    return root


def bad_rows(root: Path) -> Path:
    for n in range(3):
        write(root / f"p{n}.png", image(n))
    rows = b'p0.png,"never closed\np1.png,caf\xe9\np2.png,fine\n'
    write(root / "captions.csv", b"image,caption\n" + rows)
    return root


def conversations(root: Path) -> Path:
    """The file itself is given, beside images that it names and one that it does not."""
    for n in range(3):
        write(root / f"images/q{n}.png", image(n))
    write(root / "images/other.png", image(5))
    return write(root / "talk of June.json", talks("q0.png", "images/q1.png", "gone.png", "../x"))


def conversations_folder(root: Path) -> Path:
    write(root / "images/q0.png", image(0))
    (root / "q1.png").symlink_to("/etc/hostname")
    write(root / "conversations.json", talks("q0.png", "q1.png", "q2.png"))
    return root


def tars(root: Path) -> Path:
    """A tar, one joined of two, one that is cut, and a link to one."""
    root.mkdir(parents=True)
    made = [tar_of((f"{n}.png", image(n)), (f"{n}.txt", b"x")) for n in range(5)]
    write(root / "0.tar", made[0])
    write(root / "1.tar", made[1] + made[2])
    write(root / "2.tar", made[3][:700])
    (root / "3.tar").symlink_to(write(root.with_name("outside") / "x.tar", made[4]))
    (root / "folder").symlink_to(root.with_name("outside"))
    return root


def one_tar(root: Path) -> Path:
    write(root / "other.tar", tar_of(("z.png", image(9)), ("z.txt", b"z")))
    return write(root / "0.tar", tar_of(("a.png", image(0)), ("a.txt", b"x"), ("b.txt", b"y")))


def downloaded(root: Path) -> Path:
    """img2dataset's folders, in which links are not followed."""
    for n in range(2):
        write(root / f"00000/{n}.png", image(n))
        write(root / f"00000/{n}.txt", f"fox {n}".encode())
    (root / "00000/2.png").symlink_to("0.png")
    write(root / "00000/2.txt", b"x")
    (root / "00001").symlink_to(root / "00000")
    return root


def image_folder(root: Path) -> Path:
    """Hugging Face's: a table in a folder, a row too many, an image too many, a link."""
    for n in range(3):
        write(root / f"cats/p{n}.png", image(n))
    (root / "cats/out.png").symlink_to(write(root.with_name("outside") / "o.png", image(7)))
    rows = "".join(f"p{n}.png,fox {n}\np{n}.png,another {n}\n" for n in (0, 2))
    write(root / "cats/metadata.csv", f"file_name,text\n{rows}gone.png,x\nout.png,x\n".encode())
    return root


def table_of_paths(root: Path) -> Path:
    """A Parquet file of paths, given by itself, beside images that it names and one it does not."""
    for n in range(3):
        write(root / f"pics/p{n}.png", image(n))
    names = ["pics/p0.png", "pics/p1.png", "gone.png", "../outside/o.png", "out.png"]
    (root / "out.png").symlink_to(write(root.with_name("outside") / "o.png", image(7)))
    held = pa.table({"image": names, "caption": [f"about {name}" for name in names]})
    pq.write_table(held, root / "t.parquet")
    return root / "t.parquet"


def folder_of_tables(root: Path) -> Path:
    table_of_paths(root)
    return root


def many_formats(root: Path) -> Path:
    """Each with pages or frames behind the first where there can be."""
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "blue")]
    for kind, name in (("TIFF", "a.tiff"), ("GIF", "b.gif"), ("BMP", "c.bmp"), ("AVIF", "d.avif")):
        write(root / name, image(len(name), kind=kind))
        if kind in ("TIFF", "GIF"):
            more = {"save_all": True, "append_images": frames[1:]}
            write(root / f"more-{name}", encoded(frames[0], kind, **more))
    write(root / "e.heic", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    for path in list(root.iterdir()):
        write(path.with_suffix(".txt"), path.name.encode())
    return root


INPUTS: dict[Callable[[Path], Path], str] = {
    beside: "folder", empty_files: "folder", odd_names: "folder", links: "folder",
    links_in_a_table: "folder", forms: "folder", bad_rows: "folder", conversations: "llava",
    conversations_folder: "llava", tars: "webdataset", one_tar: "webdataset",
    downloaded: "img2dataset", image_folder: "imagefolder", table_of_paths: "parquet",
    folder_of_tables: "parquet", many_formats: "folder",
}  # fmt: skip
