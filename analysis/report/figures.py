"""Figures and tables of the catalogues on the page: they, their caption, their files."""

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

from analysis import formats

SCALE = 1.5  # pixels of a figure's PNG for one of the page
_IMAGE = Markup('<img src="{uri}" alt="{alt}" width="{width}" height="{height}">')
_TABLE = Markup('<div class="scroll" tabindex="0" role="region" aria-label="{title}">{table}</div>')
Links = dict[str, str]  # what a reader sees -> path beside the page


@dataclass(frozen=True)
class Drawn:
    """A figure or a table of a catalogue, ready for the page; `body` is an image or the table."""

    name: str
    title: str
    category: str
    body: Markup
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
        alt = f"{row['title']}; the caption says what is drawn"
        body = _IMAGE.format(uri=uri, alt=alt, width=width, height=height)
        return cls(row["name"], row["title"], row["category"], body, caption, links)

    @classmethod
    def table(cls, row: Mapping[str, Any], html: Path, caption: Markup, links: Links) -> Drawn:
        """The table of a catalogue's row, from the HTML that its script wrote."""
        body = _TABLE.format(title=row["title"], table=Markup(formats.html_body(html)))
        return cls(row["name"], row["title"], row["category"], body, caption, links)


def caption(text: str, study: str) -> Markup:
    """A caption of `workflow/report` as HTML."""
    wildcards = SimpleNamespace(study=study)
    job = SimpleNamespace(wildcards=wildcards, config={"study": study})
    plain = Template(text, undefined=StrictUndefined).render(snakemake=job)
    return Markup(publish_parts(plain, writer="html5")["body"])
