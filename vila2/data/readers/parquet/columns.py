"""Which columns of a table hold images, texts and names."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from vila2.data.errors import DataError
from vila2.data.readers.base import ReadOptions

IMAGE_FIELDS = ("image", "jpg", "jpeg", "png", "webp", "img", "image", "image_bytes", "bytes")
# Columns of text that may name image files instead.
PATH_FIELDS = ("image", "img", "image_path", "img_path", "path", "file_name", "filename", "file")
CAPTION_FIELDS = (
    "caption", "text", "txt", "alt_text", "TEXT", "sentence", "description", "captions",
    "sentences", "raw_caption",
)  # fmt: skip
KEY_FIELDS = ("key", "__key__", "id", "image_id", "filename", "file_name")
SOURCE_FIELDS = ("source", "url", "URL", "image_url")


def choose_columns(file: Path, schema: pa.Schema, options: ReadOptions) -> dict[str, str]:
    """Map roles to columns; raises `DataError` if a required one is missing or mistyped.

    The column of images is that of `options`, else the first usual name that holds bytes, else the
    first that holds paths.
    """
    given = set(schema.names)
    bytes_of = {
        name for name in IMAGE_FIELDS if name in given and is_image(schema.field(name).type)
    }
    paths_of = {name for name in PATH_FIELDS if name in given and is_path(schema.field(name).type)}
    usual = [name for name in IMAGE_FIELDS if name in bytes_of]
    usual += [name for name in PATH_FIELDS if name in paths_of]
    image = _pick(options.image_field, tuple(usual), given, file, "image")
    kind = None if image is None else schema.field(image).type
    if kind is None or not (is_image(kind) or is_path(kind)):
        held = ", ".join(f"{field.name}: {field.type}" for field in list(schema)[:30])
        raise DataError(
            f"has no column of images' bytes or paths (it has {held[:600]})",
            file=str(file),
            field=image or "image",
            fix="Name the column with --image-field, or use format urls for addresses",
        )
    assert image is not None
    chosen = {"image": image}
    caption = _pick(options.caption_field, CAPTION_FIELDS, given, file, "caption")
    if caption is not None and not is_text(schema.field(caption).type):
        raise DataError(
            f"column {caption} holds {schema.field(caption).type}, not text",
            file=str(file),
            field=caption,
            fix="Name the column of captions with --caption-field",
        )
    turns = "turns" in given and _is_turns(schema.field("turns").type)
    if caption is None and not turns and not options.captionless:
        raise DataError(
            f"has none of the columns {', '.join(CAPTION_FIELDS)}",
            file=str(file),
            field="caption",
            fix="Name the column of captions with --caption-field, or say --captionless",
        )
    if caption is not None:
        chosen["caption"] = caption
    if turns:
        chosen["turns"] = "turns"
    if "source_ids" in given and _is_names(schema.field("source_ids").type):
        chosen["ids"] = "source_ids"
    if "more_captions" in given and is_text(schema.field("more_captions").type):
        chosen["more"] = "more_captions"
    for role, names in (("key", KEY_FIELDS), ("source", SOURCE_FIELDS)):
        found = next((n for n in names if n in given and _is_name(schema.field(n).type)), None)
        if found is not None:
            chosen[role] = found
    return chosen


def _pick(
    wanted: str, usual: tuple[str, ...], given: set[str], file: Path, role: str
) -> str | None:
    if not wanted:
        return next((name for name in usual if name in given), None)
    if wanted not in given:
        raise DataError(
            f"has no column {wanted!r}",
            file=str(file),
            field=role,
            fix=f"It has {', '.join(sorted(given))[:600]}",
        )
    return wanted


def is_image(kind: pa.DataType) -> bool:
    """Whether a column holds images' bytes, alone or as Hugging Face's `Image` feature."""
    if pa.types.is_struct(kind):
        held = {kind.field(n).name: kind.field(n).type for n in range(kind.num_fields)}
        only_paths = "path" in held and pa.types.is_null(held.get("bytes"))
        return only_paths or ("bytes" in held and is_image(held["bytes"]))
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def has_paths(kind: pa.DataType) -> bool:
    """Whether a struct has a `path`, as Hugging Face's `Image` feature has."""
    return bool(pa.types.is_struct(kind)) and kind.get_field_index("path") >= 0


def is_path(kind: pa.DataType) -> bool:
    """Whether a column may name files."""
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def is_text(kind: pa.DataType) -> bool:
    """Whether a column holds a text a row, or a list of them."""
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return _is_name(kind.value_type) and not pa.types.is_integer(kind.value_type)
    return is_path(kind)


def _is_name(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_integer(kind)
    )


def _is_names(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) and _is_name(kind.value_type))


def _is_turns(kind: pa.DataType) -> bool:
    if not (pa.types.is_list(kind) and pa.types.is_struct(kind.value_type)):
        return False
    held = kind.value_type
    return {"question", "answer"} <= {held.field(n).name for n in range(held.num_fields)}
