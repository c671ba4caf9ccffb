"""A gallery of images and their captions: one self-contained HTML file."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from vila2.data.images.decoding import ImageRejected, decode_within
from vila2.system.files import write_atomically

_PIXELS = 160_000  # area of a thumbnail


@dataclass(frozen=True, slots=True)
class Shown:
    """A sample: its image, and its texts by source; that of a quarantined one starts with why."""

    key: str
    image: bytes
    texts: Mapping[str, str]


def write_gallery(path: Path, title: str, samples: Iterable[Shown]) -> None:
    """Write the page. Texts are escaped; thumbnails are embedded."""
    cards = "".join(map(_card, samples))
    write_atomically(path, _PAGE.format(title=html.escape(title), cards=cards))


def _card(shown: Shown) -> str:
    texts = "".join(
        f"<dt>{html.escape(label)}</dt><dd dir='auto'>{html.escape(text)}</dd>"
        for label, text in shown.texts.items()
    )
    key = html.escape(shown.key)
    return f"<article>{_thumbnail(shown.image)}<h2>{key}</h2><dl>{texts}</dl></article>"


def _thumbnail(data: bytes) -> str:
    try:
        image = decode_within(data, _PIXELS)
    except ImageRejected as error:
        return f"<p>{html.escape(error.detail)}</p>"
    out = io.BytesIO()
    image.save(out, "JPEG", quality=80)
    source = base64.b64encode(out.getvalue()).decode()
    size = f"width='{image.width}' height='{image.height}'"
    return f"<img alt='' loading='lazy' {size} src='data:image/jpeg;base64,{source}'>"


_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width">
<style>
body {{ font: 15px/1.45 system-ui, sans-serif; margin: 2rem; color: #1b1b1b; background: #fafafa }}
main {{ display: grid; gap: 1.2rem; grid-template-columns: repeat(auto-fill, minmax(20rem, 1fr)) }}
article {{ background: #fff; border: 1px solid #ddd; border-radius: 6px; padding: 1rem }}
img {{ max-width: 100%; height: auto; border-radius: 4px }}
h2 {{ font-size: .85rem; color: #666; margin: .5rem 0; overflow-wrap: anywhere }}
dt {{ font-size: .8rem; color: #666 }} dd {{ margin: 0 0 .6rem }}
</style><h1>{title}</h1><main>{cards}</main></html>
"""
