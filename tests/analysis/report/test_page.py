"""The page as a file: what is in it, and that it needs nothing else."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from analysis import formats
from analysis.report.figures import Drawn, caption
from analysis.report.page import SECTIONS, build, figure, table, table_links
from tests.analysis.conftest import NAMES

ROOT = Path(__file__).resolve().parents[3]
LARGEST = 3_000_000  # bytes, with 40 methods
FIGURES = 600_000  # bytes that the figures of 40 methods take as they are embedded
CATEGORIES = ["Update directions", "Ablations", "Training"]


class Page(HTMLParser):
    """Tags with their attributes."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def having(self, name):
        return [attributes[name] for _, attributes in self.tags if name in attributes]


def drawn(name: str, category: str, folder: Path) -> Drawn:
    png = folder / f"{name}.png"
    Image.new("RGB", (30, 15), "red").save(png)
    text = caption("A caption of *{{ snakemake.wildcards.study }}*.", "tiny")
    row = {"name": name, "title": "some figure", "category": category}
    return Drawn.read(row, png, text, {"PDF": f"figures/{name}.pdf"})


@pytest.fixture(scope="module")
def html(study, tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("figures")
    figures = [drawn(f"f{place}", name, folder) for place, name in enumerate(CATEGORIES)]
    return build("tiny", study, NAMES, figures, {"runs": {"CSV": "tables/runs.csv"}})


def test_nothing_is_loaded_from_anywhere(html):
    page = Page(html)
    assert all(str(source).startswith("data:") for source in page.having("src"))
    links = [attributes for tag, attributes in page.tags if tag == "link"]
    assert [link["href"] for link in links] == ["data:,"]
    style = re.search(r"<style>(.*?)</style>", html, re.DOTALL).group(1)
    assert "url(" not in style
    assert "@import" not in style


def test_links_lead_to_places_of_the_page_or_files_beside_it(html):
    page = Page(html)
    places = set(page.having("id"))
    assert len(places) == len(page.having("id"))
    for link in page.having("href"):
        if link.startswith("#"):
            assert link[1:] in places
        else:
            assert link == "data:," or not link.startswith(("http", "/"))


def test_every_section_is_there_and_named_by_its_heading(html):
    page = Page(html)
    sections = [attributes for tag, attributes in page.tags if tag == "section"]
    assert [section["id"] for section in sections] == ["decide", *SECTIONS]
    assert {section["aria-labelledby"] for section in sections} <= set(page.having("id"))


def test_what_a_study_does_not_have_has_no_section(study):
    bare = replace(
        study,
        claims=None,
        data=None,
        counts=None,
        origins=None,
        rates=None,
        sweep=None,
        others=None,
    )
    page = Page(build("tiny", bare, NAMES))
    kept = [attributes["id"] for tag, attributes in page.tags if tag == "section"]
    gone = {"directions", "ablations", "training", "claims", "data", "others"}
    assert kept == ["decide", *(name for name in SECTIONS if name not in gone)]


def test_data_is_json_and_cannot_end_its_script(study):
    names = type(NAMES)(NAMES._labels and _renamed("</script><b>", [("variant", "lora")]))
    html = build("tiny", study, names)
    assert "</script><b>" not in html
    data = json.loads(re.search(r'id="page-data">(.*?)</script>', html, re.DOTALL).group(1))
    assert any("</script><b>" in point["label"] for point in data["points"])
    # NaN is no JSON
    base = data["points"][0]["scores"]["mean"]
    assert (base["n"], base["low"]) == (1, None)


def _renamed(label, keys):
    from tests.analysis.conftest import NAMES_TABLE

    table = NAMES_TABLE.copy()
    for kind, name in keys:
        table.loc[(table["kind"] == kind) & (table["name"] == name), "label"] = label
    return table


def test_the_table_of_methods_reads_without_scripts(html):
    body = re.search(r'<table id="methods">.*?<tbody>(.*?)</tbody>', html, re.DOTALL).group(1)
    first, *others = re.findall(r"<tr[^>]*>(.*?)</tr>", body, re.DOTALL)
    assert "<td>the best</td>" in first
    assert re.search(r"<td>9\d\.\d \[\d+\.\d, \d+\.\d\] 3</td>", first)
    assert len(others) == 8
    assert body.count(" hidden") == 2  # of closed forms alone


def test_figures_have_their_caption_below_and_their_files(html):
    for place in range(len(CATEGORIES)):
        block = re.search(rf'<figure id="figure-f{place}">.*?</figure>', html, re.DOTALL).group(0)
        assert block.index("data:image/webp") < block.index("A caption of <em>tiny</em>.")
        assert f'href="figures/f{place}.pdf"' in block


def test_a_table_of_the_catalogue_stands_in_its_section(study, tmp_path):
    (tmp_path / "tables").mkdir()
    printed = pd.DataFrame({"Method": ["A < B"], "Score": ["81.2 ± 1.3 (3)"]})
    paths = {end: tmp_path / f"tables/extra.{end}" for end in ("csv", "md", "tex", "html")}
    formats.write(printed, printed, ["How to read it."], **paths)
    (tmp_path / "extra.rst").write_text("Of study ``{{ snakemake.wildcards.study }}``.")
    row = {"name": "extra", "title": "an extra one", "category": "Accuracy"}
    html = build("tiny", study, NAMES, [table(row, tmp_path, tmp_path, "tiny")])
    section = html.split('<section id="tasks"')[1].split("</section>")[0]
    block = section.split('<figure id="figure-extra">')[1].split("</figure>")[0]
    assert "<td>A &lt; B</td>" in block
    assert "81.2 ± 1.3 (3)" in block
    assert block.index("How to read it.") < block.index("Of study")
    assert 'href="tables/extra.csv"' in block
    assert "<style>" not in block


def test_captions_of_the_workflow_become_html():
    for path in sorted((ROOT / "workflow/report").glob("*.rst")):
        text = caption(path.read_text(encoding="utf-8"), "tiny")
        assert text.startswith("<p>")
        assert "system-message" not in text
        assert "{{" not in text


def test_files_of_a_figure_and_a_table_are_linked_where_they_are(tmp_path):
    for name in ("figures/lines.png", "figures/lines.pdf", "tables/losses.csv", "tables/runs.csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "tables/items.parquet").touch()
    Image.new("RGB", (30, 15)).save(tmp_path / "figures/lines.png")
    (tmp_path / "lines.rst").write_text("Lines.")
    row = {"name": "lines", "title": "lines", "category": "Training", "inputs": ["names", "losses"]}
    found = figure(row, tmp_path, tmp_path, "tiny")
    assert found.links == {
        "PDF": "figures/lines.pdf",
        "PNG": "figures/lines.png",
        "losses": "tables/losses.csv",
    }
    links = table_links(tmp_path)
    assert links["runs"] == {"CSV": "tables/runs.csv"}
    assert links["items"] == {"parquet": "tables/items.parquet"}
    assert links["score_vs_cost"] == {"CSV": "tables/runs.csv"}


@pytest.mark.slow
def test_forty_methods_stay_below_three_megabytes(forty):
    html = build("many", *forty)
    assert len(html.encode()) < LARGEST - FIGURES
