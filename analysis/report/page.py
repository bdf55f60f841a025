"""The page of a study: tables, figures and captions in, one HTML file out, with all it needs."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import isnan
from os.path import relpath
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import vl_convert
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from analysis import formats, versions
from analysis.names import Names
from analysis.report import others, spread
from analysis.report.answer import answer
from analysis.report.costs import COSTS
from analysis.report.figures import Drawn, Links, caption
from analysis.report.inputs import Tables
from analysis.report.pairs import Pair, Pairs, against, pairs
from analysis.report.payload import payload
from analysis.report.points import Point, Score, points, score_names, shape_names
from analysis.report.sections import largest, ledger, matrix, origins, rates
from analysis.tables import accuracy, claims, costs, paired_differences
from analysis.tables import prepared_data as prepared
from analysis.tidy import rows, writing

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

TEMPLATES = Path(__file__).with_name("templates")
SECTIONS = {
    "tasks": "Tasks one by one",
    "differences": "Paired differences",
    "rates": "Learning rates",
    "costs": "Costs",
    "directions": "Update directions",
    "ablations": "Ablations",
    "training": "Training",
    "claims": "The paper's claims",
    "others": "Others' results",
    "data": "Data",
    "runs": "Runs",
    "provenance": "Provenance",
}
Context = dict[str, Any]


def build(
    study: str,
    tables: Tables,
    names: Names,
    figures: Sequence[Drawn] = (),
    links: Mapping[str, Links] | None = None,
) -> str:
    """The page as HTML. It loads nothing: images, styles, scripts and data are in it.

    Parameters
    ----------
    links
        Files beside the page, by the name of the table that they hold.
    """
    found, scores = points(tables, names), score_names(tables.runs, names)
    shapes = shape_names(tables, names)
    compared = pairs(tables, found)
    by_category = defaultdict(list)
    for drawn in figures:
        by_category[drawn.category].append(drawn)
    context = {
        "study": study,
        "answer": answer(tables, found, compared, scores, names),
        "points": found,
        "scores": scores,
        "shapes": shapes,
        "costs": COSTS,
        "lines": _lines(found, compared, next(iter(scores))),
        "chart_links": (links or {}).get("score_vs_cost", {}),
        "figures": by_category,
        "links": defaultdict(dict, links or {}),
        "largest": largest.table(found, next(iter(scores))),
        "matrices": matrix.matrices(found, compared, scores),
        "failed": [(point, run) for point in found for run in point.runs if run.reason],
        "sweep": tables.sweep is not None,
        **_texts(tables, names),
        "data": payload(tables, names, found, compared),
    }
    return _render(context)


def _texts(tables: Tables, names: Names) -> Context:
    """The tables for readers, as text, with their notes; None where the study has none."""
    scored = accuracy.accuracy(tables.runs, names)
    cost = costs.costs(tables.runs, names)
    return {
        "accuracy": accuracy.printed(scored, tables.runs, names),
        "accuracy_notes": accuracy.notes(tables.runs, names),
        "paired": paired_differences.printed(tables.paired, names),
        "paired_notes": paired_differences.notes(tables.paired),
        "rates": None if tables.rates is None else rates.table(tables.rates, names),
        "rate_notes": rates.notes(tables.sweep, names),
        "cost_table": costs.printed(cost, names),
        "cost_notes": costs.NOTES,
        "count_table": _counts(tables, names),
        "claims": None if tables.claims is None else ledger.claims(tables.claims, names),
        "claim_notes": claims.NOTES,
        "data_table": None if tables.data is None else _prepared(tables.data, names),
        "data_notes": prepared.NOTES,
        "others": None if tables.others is None else others.printed(tables.others),
        "version_notes": versions.notes(tables.runs),
        "origins": None if tables.origins is None else origins.origins(tables.origins),
        "percent": formats.percent,
    }


def _prepared(table: pd.DataFrame, names: Names) -> pd.DataFrame:
    return prepared.printed(prepared.counted(table), names)


def _counts(tables: Tables, names: Names) -> pd.DataFrame | None:
    if tables.counts is None:
        return None
    others = tables.counts[~tables.counts["model"].isin(tables.runs["model"])]
    return pd.DataFrame(
        {
            "Model": row.label,
            "Method": names.label(row.variant, row.rank),
            "Trainable": formats.count(row.trainable_parameters),
            "Stored": formats.quantity(row.stored_bytes, "B"),
            "Shared": formats.quantity(row.shared_bytes, "B"),
            "Optimizer state": formats.quantity(row.optimizer_state_bytes, "B"),
            "Base": formats.quantity(row.base_bytes, "B"),
            **_least(row),
        }
        for row in rows(formats.by_variant(others, names, first=["model"]))
    )


def _least(row: Any) -> dict[str, str]:
    """What training and its start take without activations; not in the counts of older releases."""
    columns = {"training_bytes": "Training", "start_bytes": "Start"}
    known = {label: getattr(row, key) for key, label in columns.items() if hasattr(row, key)}
    return {label: formats.quantity(value, "B") for label, value in known.items()}


def _lines(points: list[Point], pairs: Pairs, score: str) -> list[Context]:
    """The table of methods as it is without scripts: by the first score, without a budget."""
    places = sorted(
        range(len(points)),
        key=lambda place: -points[place].scores[score].mean if score in points[place].scores else 2,
    )
    others = against(pairs.get(score, []), places[0])
    lines = []
    for place in places:
        point, pair = points[place], others.get(place)
        cost = spread.cost_of(point, "measured", score, "trainable")
        lines.append(
            {
                "point": point,
                "score": _score(point.scores[score]) if score in point.scores else "",
                "cost": formats.MISSING if cost is None else formats.quantity(cost),
                "best": "the best" if place == places[0] else _difference(pair),
            }
        )
    return lines


def _score(score: Score) -> str:
    if isnan(score.low):
        return f"{formats.percent(score.mean)} {score.n}"
    kind = "" if score.interval == "t" else f", {score.interval}"
    bounds = formats.interval(score.low, score.high)[:-1]
    return f"{formats.percent(score.mean)} {bounds}{kind}] {score.n}"


def _difference(pair: Pair | None) -> str:
    if pair is None:
        return "not compared"
    tie = "" if pair.verdict else "= " if pair.same else "≈ "
    dagger = "" if pair.planned else " †"
    return f"{tie}{formats.percent(pair.value)} {formats.interval(pair.low, pair.high)}{dagger}"


def _render(context: Context) -> str:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined
    )
    empty = {
        **{
            name: not context["figures"].get(SECTIONS[name]) for name in ("directions", "ablations")
        },
        "training": not context["figures"].get("Training"),
        "claims": context["claims"] is None,
        "data": context["data_table"] is None,
        "others": context["others"] is None,
    }
    own = {
        "sections": {name: title for name, title in SECTIONS.items() if not empty.get(name)},
        "style": Markup((TEMPLATES / "style.css").read_text(encoding="utf-8")),
        "script": Markup((TEMPLATES / "script.js").read_text(encoding="utf-8")),
        "runtime": Markup(vl_convert.javascript_bundle(None)),  # type: ignore[arg-type]
    }
    return environment.get_template("page.html.j2").render(**context, **own)


def figure(row: Mapping[str, Any], folder: Path, captions: Path, study: str) -> Drawn:
    """The figure of a catalogue's row, from the folder that the page will be in."""
    text = caption((captions / f"{row['name']}.rst").read_text(encoding="utf-8"), study)
    files = {
        **{kind: folder / f"figures/{row['name']}.{kind.lower()}" for kind in ("PDF", "PNG")},
        **{name: _table(folder, name) for name in row["inputs"] if name != "names"},
    }
    return Drawn.read(row, files["PNG"], text, _there(folder, files))


def table(row: Mapping[str, Any], folder: Path, captions: Path, study: str) -> Drawn:
    """The table of a catalogue's row, likewise."""
    text = caption((captions / f"{row['name']}.rst").read_text(encoding="utf-8"), study)
    links = table_links(folder)[row["name"]]
    return Drawn.table(row, folder / f"tables/{row['name']}.html", text, links)


def table_links(folder: Path) -> dict[str, Links]:
    """The files of each table and of the chart, as seen from the page's folder."""
    names = {path.stem for path in (folder / "tables").iterdir()}
    kinds = {"CSV": "csv", "parquet": "parquet", "Markdown": "md", "LaTeX": "tex"}
    found = {
        name: _there(folder, {kind: folder / f"tables/{name}.{end}" for kind, end in kinds.items()})
        for name in names
    }
    static = {
        f"{cost} as {kind}": folder / f"figures/score_vs_{cost}.{kind.lower()}"
        for cost in ("trainable", "stored", "memory", "time")
        for kind in ("PDF", "PNG")
    }
    return found | {"score_vs_cost": _there(folder, static) | found.get("runs", {})}


def _table(folder: Path, name: str) -> Path:
    files = [folder / f"tables/{name}.{end}" for end in ("csv", "parquet", "tsv")]
    return next((path for path in files if path.exists()), files[0])


def _there(folder: Path, files: Mapping[str, Path]) -> Links:
    return {name: relpath(path, folder) for name, path in files.items() if path.exists()}


if "snakemake" in globals():
    inputs, params = snakemake.input, snakemake.params
    page, study = Path(snakemake.output.page), snakemake.wildcards.study
    files = {name: str(inputs.get(name, "")) for name in Tables.names()}
    files["sweep"] = params["sweep"]
    present = {name: Path(path) for name, path in files.items() if path}
    captions = Path("workflow/report")
    place = (page.parent, captions, study)
    drawn = [table(row, *place) for row in params["tables"]]
    drawn += [figure(row, *place) for row in params["figures"]]
    names = Names.read(inputs.names)
    tables = Tables.read(present)
    if inputs.others:
        tables = replace(tables, others=others.read_others(inputs.others))
    html = build(study, tables, names, drawn, table_links(page.parent))
    with writing(page):
        page.write_text(html, encoding="utf-8")
