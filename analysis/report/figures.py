"""Figures of the catalogue on the page: their image inside it, their caption, their files."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from docutils.core import publish_parts  # type: ignore[import-untyped]
from jinja2 import StrictUndefined, Template
from markupsafe import Markup
from PIL import Image

SCALE = 1.5  # pixels of a figure's PNG for one of the page
Links = dict[str, str]  # what a reader sees -> path beside the page


@dataclass(frozen=True)
class Drawn:
    """A figure of the catalogue, ready for the page."""

    name: str
    title: str
    category: str
    image: str
    width: int
    height: int
    caption: Markup
    links: Links

    @classmethod
    def read(cls, row: Mapping[str, Any], png: Path, caption: Markup, links: Links) -> Drawn:
        """The figure of a catalogue's row; its image keeps its pixels, in 256 colours."""
        with Image.open(png) as image:
            reduced = image.convert("RGB").quantize(256, dither=Image.Dither.NONE)
            written = BytesIO()
            reduced.convert("RGB").save(written, format="WEBP", lossless=True)
            width, height = (round(side / SCALE) for side in image.size)
        uri = f"data:image/webp;base64,{b64encode(written.getvalue()).decode()}"
        return cls(row["name"], row["title"], row["category"], uri, width, height, caption, links)


def caption(text: str, study: str) -> Markup:
    """A caption of `workflow/report` as HTML."""
    wildcards = SimpleNamespace(study=study)
    job = SimpleNamespace(wildcards=wildcards, config={"study": study})
    plain = Template(text, undefined=StrictUndefined).render(snakemake=job)
    return Markup(publish_parts(plain, writer="html5")["body"])
