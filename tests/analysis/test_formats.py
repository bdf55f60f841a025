from __future__ import annotations

import math
from types import SimpleNamespace

import pandas as pd
import pytest

from analysis import formats
from tests.analysis.conftest import NAMES


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0.8123, "81.2"), (-0.0312, "-3.1"), (-0.0001, "0.0"), (1.0, "100.0"), (math.nan, "–")],  # noqa: RUF001
)
def test_percent(value, expected):
    assert formats.percent(value) == expected


@pytest.mark.parametrize(
    ("numbers", "text"),
    [
        ((0.812, 0.799, 0.825, 3, "t"), "81.2 ± 1.3 (3)"),
        ((0.812, 0.521, 0.943, 3, "logit"), "81.2 [52.1, 94.3] (3)"),
        ((0.812, 0.602, 1.0, 3, "cut"), "81.2 [60.2, 100.0] (3)"),
        ((0.812, math.nan, math.nan, 1, "t"), "81.2 (1)"),
        ((math.nan, math.nan, math.nan, 0, "t"), formats.MISSING),
    ],
)
def test_score(numbers, text):
    names = ("mean", "low", "high", "n", "interval")
    row = SimpleNamespace(**dict(zip(names, numbers, strict=True)))
    assert formats.score(row) == text


@pytest.mark.parametrize(
    ("value", "unit", "expected"),
    [
        (1_234_567, "B", "1.23 MB"),
        (999, "B", "999 B"),
        (28_672, "B", "28.7 kB"),
        (4.5e9, "B", "4.5 GB"),
        (0.0, "B", "0 B"),
        (0.25, "", "0.25"),
        (120.0, "", "120"),
        (math.nan, "B", "–"),  # noqa: RUF001
    ],
)
def test_quantity(value, unit, expected):
    assert formats.quantity(value, unit) == expected


def test_p_value():
    assert formats.p_value(0.0004) == "< 0.001"
    assert formats.p_value(0.0412) == "0.041"
    assert formats.p_value(math.nan) == formats.MISSING


def test_by_variant_sorts_within_the_order_of_tasks():
    table = pd.DataFrame(
        {
            "task": ["world", "world", "arithmetic", "world"],
            "variant": ["lora-sb", "full", "full", "lora-sb"],
            "rank": [16, 0, 0, 4],
        },
        index=[7, 3, 5, 1],
    )
    found = formats.by_variant(table, NAMES, first=["task"])
    assert list(found.itertuples(index=False, name=None)) == [
        ("world", "full", 0),
        ("world", "lora-sb", 4),
        ("world", "lora-sb", 16),
        ("arithmetic", "full", 0),
    ]


def test_write_makes_four_files_with_the_same_cells(tmp_path):
    data = pd.DataFrame({"mean": [0.8123]})
    printed = pd.DataFrame({"Score_%": ["81.2 ± 1.3 (3)"], "p": ["< 0.001"]})
    paths = {name: tmp_path / f"table.{name}" for name in ("csv", "md", "tex", "html")}
    formats.write(data, printed, ["100 % of a_b & c"], **paths)
    assert pd.read_csv(paths["csv"])["mean"][0] == 0.8123
    markdown, latex = paths["md"].read_text(), paths["tex"].read_text()
    assert "| 81.2 ± 1.3 (3) | < 0.001 |" in markdown
    assert markdown.endswith("\n\n100 % of a_b & c\n")
    assert r"81.2 $\pm$ 1.3 (3) & $<$ 0.001 \\" in latex
    assert r"Score\_\%" in latex
    assert r"100 \% of a\_b \& c" in latex
    assert r"\toprule" in latex
    page = paths["html"].read_text()
    assert "<td>81.2 ± 1.3 (3)</td>" in page
    assert "<td>&lt; 0.001</td>" in page
    assert "<p>100 % of a_b &amp; c</p>" in page


def test_latex_escapes_every_special_character_once(tmp_path):
    printed = pd.DataFrame({"x": [r"\ ~ ^ # $ { }"]})
    formats.write(
        printed,
        printed,
        ["a < b"],
        **{s: tmp_path / f"a.{s}" for s in ("csv", "md", "tex", "html")},
    )
    escaped = r"\textbackslash{} \textasciitilde{} \textasciicircum{} \# \$ \{ \} \\"
    assert escaped in (tmp_path / "a.tex").read_text()
