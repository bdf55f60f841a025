"""The charts of the page as Vega-Lite, by altair. Ink is the page's, so that dark follows light."""

from __future__ import annotations

from typing import Any

import altair as alt
import pandas as pd

INK = "currentColor"
SPEC = dict[str, Any]
POINTS = "points"  # the data that the page's script sets
MOVED = alt.expr("datum.move")
# around what has a colour of its own, so that black is seen on black; and an interval's ends
HALO: dict[str, Any] = {"stroke": INK, "strokeWidth": 3, "strokeOpacity": 0.5}
# a logarithmic axis names 1, 2 and 5 of each power of ten
NUMBERS = "indexof('125', format(datum.value, '.0e')[0]) < 0 ? '' : format(datum.value, '~s')"


def score_over_cost() -> SPEC:
    """Score over the cost that the reader chose; the script gives its rows as `points`.

    A row: key, label, x, none (it costs nothing), mean, low, high, color, path, move (pixels),
    inside (the budget), tip (what hovering shows). `lit` is the key of the row under the pointer.
    """
    lit = alt.param(name="lit", value="")
    base = alt.Chart(alt.NamedData(POINTS))
    x = alt.X(
        "x:Q",
        title=None,
        scale=alt.Scale(type="log", nice=False, padding=24),
        axis=alt.Axis(labelExpr=NUMBERS, tickCount=5, labelOverlap=True, grid=False),
    )
    y = alt.Y("mean:Q", title=None, scale=alt.Scale(zero=False))
    shown = alt.when("datum.inside").then(alt.value(1)).otherwise(alt.value(0.22))
    color = alt.Color("color:N", scale=None)
    bars = base.transform_filter("isValid(datum.low)").encode(
        x, alt.Y("low:Q", title=None), alt.Y2("high:Q"), opacity=shown
    )
    halo = bars.mark_rule(xOffset=MOVED, **HALO)
    bars = bars.mark_rule(strokeWidth=1.5, xOffset=MOVED).encode(color)
    marks = base.mark_point(
        filled=True, size=95, stroke=INK, strokeWidth=1, opacity=1, xOffset=MOVED
    )
    marks = marks.encode(
        x,
        y,
        alt.Fill("color:N", scale=None),
        alt.Shape("path:N", scale=None),
        opacity=shown,
        size=alt.when("datum.key === lit").then(alt.value(320)).otherwise(alt.value(95)),
        tooltip=alt.Tooltip("tip:N"),
    )
    order: list[Any] = [alt.SortField("x"), alt.SortField("mean", "descending")]
    front = base.transform_filter("datum.inside").transform_window(top="max(mean)", sort=order)
    front = front.transform_window(before="lag(top)", sort=order).transform_filter(
        "!isValid(datum.before) || datum.mean > datum.before"
    )
    line = front.mark_line(
        interpolate="step-after", stroke=INK, strokeWidth=1, strokeDash=[3, 3], opacity=0.7
    ).encode(x, y)
    ends = front.transform_joinaggregate(
        first="min(x)", last="max(x)", bottom="min(mean)", top="max(mean)"
    )
    ends = ends.transform_window(next_x="lead(x)", next_mean="lead(mean)", sort=order)
    # no room for a name where the next one begins: a sixth of the width, a tenth of the height
    ends = ends.transform_filter(
        "!isValid(datum.next_x)"
        " || log(datum.next_x / datum.x) > log(datum.last / datum.first) / 6"
        " || datum.next_mean - datum.mean > (datum.top - datum.bottom) / 10"
    )
    left = "datum.x * datum.x <= datum.first * datum.last"
    text: dict[str, Any] = {"fill": INK, "fontSize": 11, "dy": -9}
    sides: list[tuple[str, dict[str, Any]]] = [
        (left, {"align": "left", "dx": 6}),
        (f"!({left})", {"align": "right", "dx": -6}),
    ]
    names = [
        ends.transform_filter(side)
        .mark_text(**look, **text, xOffset=MOVED)
        .encode(x, y, alt.Text("label:N"))
        for side, look in sides
    ]
    nothing = (
        base.transform_filter("datum.none")
        .transform_aggregate(x="min(x)")
        .mark_text(text="none", fill=INK, fontSize=11, baseline="top", dy=6)
        .encode(x, y=alt.value("height"))
    )
    return _finished(
        alt.layer(halo, bars, line, marks, *names, nothing).add_params(lit), height=330
    )


def scores_by_task(table: pd.DataFrame, tasks: list[str], methods: list[str]) -> SPEC:
    """A panel a task: a mean and an interval a method, in the orders given.

    Columns task, label, mean, low, high (x 100), color, path, tip.
    """
    base = alt.Chart(table)
    y = alt.Y("label:N", sort=methods, title=None, axis=alt.Axis(labelLimit=220))
    color = alt.Color("color:N", scale=None)
    bars = base.transform_filter("isValid(datum.low)").encode(
        alt.X("low:Q", title=None), alt.X2("high:Q"), y
    )
    halo, bars = bars.mark_rule(**HALO), bars.mark_rule(strokeWidth=1.5).encode(color)
    marks = base.mark_point(filled=True, size=70, stroke=INK, strokeWidth=1, opacity=1).encode(
        alt.X("mean:Q", title=None, scale=alt.Scale(zero=False)),
        y,
        alt.Fill("color:N", scale=None),
        alt.Shape("path:N", scale=None),
        tooltip=alt.Tooltip("tip:N"),
    )
    panel = alt.layer(halo, bars, marks).properties(width=210, height=alt.Step(18))
    facets = panel.facet(facet=alt.Facet("task:N", title=None, sort=tasks), columns=1)
    return _finished(facets.resolve_scale(x="independent"))


def learning_rates(table: pd.DataFrame, order: list[str]) -> SPEC:
    """A panel a method and rank, a line a task: score over the learning rate.

    Columns label, task, lr, mean (x 100), mark (empty, `chosen`, `edge`), tip.
    """
    base = alt.Chart(table)
    x = alt.X("lr:Q", title=None, scale=alt.Scale(type="log", nice=False, padding=8))
    x = x.axis(tickCount=3, labelExpr="format(datum.value, '.0e')", labelOverlap=True, grid=False)
    # room for the rings: one that leaves its panel moves the panel's title
    y = alt.Y("mean:Q", title=None, scale=alt.Scale(zero=False, padding=8))
    y = y.axis(tickCount=4)
    tasks = alt.Scale(domain=list(dict.fromkeys(table["task"])))
    color = alt.Color("task:N", title=None, scale=tasks)
    dash = alt.StrokeDash("task:N", title=None, scale=tasks)
    lines = base.mark_line(strokeWidth=1.5, opacity=0.9).encode(x, y, color, dash)
    spots = base.mark_point(filled=True, size=18, opacity=1)
    spots = spots.encode(x, y, color, tooltip=alt.Tooltip("tip:N"))
    rings = [
        base.transform_filter(f"datum.mark === '{mark}'")
        .mark_point(shape=shape, size=130, stroke=INK, strokeWidth=width, filled=False, opacity=1)
        .encode(x, y)
        for mark, shape, width in (("chosen", "circle", 1.2), ("edge", "square", 2.2))
    ]
    panel = alt.layer(lines, spots, *rings).properties(width=180, height=90)
    facets = panel.facet(facet=alt.Facet("label:N", title=None, sort=order), columns=1)
    return _finished(facets)


def _finished(chart: Any, **properties: Any) -> SPEC:
    if properties:
        fit = alt.AutoSizeParams(type="fit-x", contains="padding")
        chart = chart.properties(width="container", autosize=fit, **properties)
    ink = dict.fromkeys(("labelColor", "titleColor", "tickColor", "domainColor"), INK)
    themed = chart.configure(background="transparent", font="sans-serif", aria=False)
    themed = themed.configure_view(stroke=None)
    themed = themed.configure_axis(
        **ink, gridColor=INK, gridOpacity=0.15, domainOpacity=0.5, tickOpacity=0.5, labelFontSize=11
    )
    themed = themed.configure_header(labelColor=INK, labelFontSize=12, labelFontWeight="bold")
    themed = themed.configure_legend(labelColor=INK, orient="top", labelFontSize=12)
    themed = themed.configure_range(
        category=["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#999933"]
    )
    spec: SPEC = themed.to_dict()
    return spec
