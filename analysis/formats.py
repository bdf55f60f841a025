"""Tables for readers: numbers as text, and one table as CSV, Markdown, LaTeX and HTML."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.names import Names
from analysis.tidy import writing

MISSING = "–"  # noqa: RUF001 - a dash, as tables print it
_LATEX = {
    **{character: f"\\{character}" for character in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": "$<$",
    ">": "$>$",
    "±": r"$\pm$",
    MISSING: "--",
}
# a whole page: the report shows it in a frame of its own
_HTML_HEAD = """<!DOCTYPE html>
<meta charset="utf-8">
<style>
body { font: 14px sans-serif; margin: 1em; }
table { border-collapse: collapse; }
th, td { text-align: left; padding: 0.3em 0.9em; border-bottom: 1px solid #ddd; }
</style>
"""


def percent(value: float, digits: int = 1) -> str:
    """A fraction as percentage points, without the sign: 0.8123 is `81.2`."""
    return MISSING if np.isnan(value) else _signed(f"{100 * value:.{digits}f}")


SCORE_NOTE = (
    "Score x 100: mean over seeds ± half of the 95 % t interval (number of seeds). Where that would"
    " leave the metric's range, brackets have the bounds of an interval of the logits instead, or"
    " those of t, cut, where a seed is at the end of the range."
)


def score(row: Any) -> str:
    """A score's mean, interval and number of values, from a row of `stats.score_means`.

    `81.2 ± 1.3 (3)` where the interval is Student's, `81.2 [52.1, 94.3] (3)` where that would
    leave the metric's range. Where there is one value the interval is left out.
    """
    if row.n == 0:
        return MISSING
    if np.isnan(row.low):
        return f"{percent(row.mean)} ({row.n})"
    half = f"± {percent((row.high - row.low) / 2)}"
    bounds = half if row.interval == "t" else interval(row.low, row.high)
    return f"{percent(row.mean)} {bounds} ({row.n})"


def interval(low: float, high: float, digits: int = 1) -> str:
    """Bounds of a fraction's interval in percentage points: `[-1.2, 3.4]`."""
    return MISSING if np.isnan(low) else f"[{percent(low, digits)}, {percent(high, digits)}]"


def p_value(value: float) -> str:
    """A p-value with three digits after the point; tiny ones as a bound."""
    if np.isnan(value):
        return MISSING
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def count(value: float) -> str:
    """A whole number with thousands separated: `12,345`."""
    return MISSING if np.isnan(value) else f"{value:,.0f}"


def rank(value: int) -> str:
    """A rank, or a dash for a method without one."""
    return str(value) if value else MISSING


def quantity(value: float, unit: str = "") -> str:
    """A number of three digits with a decimal prefix: 1234567 bytes are `1.23 MB`."""
    if np.isnan(value):
        return MISSING
    for power, prefix in ((9, "G"), (6, "M"), (3, "k")):
        if abs(value) >= 10**power:
            return f"{_three_digits(value / 10**power)} {prefix}{unit}"
    return f"{_three_digits(value)} {unit}".rstrip()


def write(
    data: pd.DataFrame,
    printed: pd.DataFrame,
    notes: Sequence[str],
    *,
    csv: str | Path,
    md: str | Path,
    tex: str | Path,
    html: str | Path,
) -> None:
    """Write `data` as CSV, and `printed`, whose cells are text, as Markdown, LaTeX and HTML.

    Each note becomes a paragraph below the table. LaTeX needs the package booktabs.

    Raises
    ------
    TableError
        If a file cannot be written.
    """
    with writing(csv):
        data.to_csv(csv, index=False)
    blocks = [printed.to_markdown(index=False, disable_numparse=True), *notes]
    _write(md, "\n\n".join(blocks) + "\n")
    body = printed.map(_latex).rename(columns=_latex).to_latex(index=False, escape=False)
    below = "".join(rf"\par{{\footnotesize {_latex(note)}}}" + "\n" for note in notes)
    _write(tex, body + below)
    shown = printed.to_html(index=False, border=0)
    paragraphs = "".join(f"<p>{escape(note)}</p>\n" for note in notes)
    _write(html, f"{_HTML_HEAD}{shown}\n{paragraphs}")


def html_body(path: str | Path) -> str:
    """The table, and the notes below it, that `write` wrote as HTML."""
    return Path(path).read_text(encoding="utf-8").removeprefix(_HTML_HEAD)


def _write(path: str | Path, text: str) -> None:
    with writing(path):
        Path(path).write_text(text, encoding="utf-8")


def by_variant(table: pd.DataFrame, names: Names, first: list[str]) -> pd.DataFrame:
    """Rows sorted by variant in display order, then by rank, within the order of `first`."""
    places = {name: place for place, name in enumerate(names.ordered(table["variant"]))}
    order = pd.DataFrame({name: pd.factorize(table[name])[0] for name in first})
    order["variant"] = table["variant"].map(places).to_numpy()
    order["rank"] = table["rank"].to_numpy()
    return table.iloc[order.sort_values(list(order.columns), kind="stable").index].reset_index(
        drop=True
    )


def without_single_model(printed: pd.DataFrame) -> pd.DataFrame:
    """The table without its column `Model` where there is only one."""
    return printed if printed["Model"].nunique() > 1 else printed.drop(columns="Model")


def _latex(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in text)


def _signed(text: str) -> str:
    # a rounded zero has no sign
    return text.replace("-", "") if float(text) == 0 else text


def _three_digits(value: float) -> str:
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    text = f"{value:.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
