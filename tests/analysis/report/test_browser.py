"""The page in a real browser: what a reader sees, hovers, types, prints."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from analysis import formats
from analysis.report.page import build
from analysis.report.pairs import against
from tests.analysis.conftest import NAMES

sync_api = pytest.importorskip("playwright.sync_api", reason="needs the package playwright")
axe = pytest.importorskip(
    "axe_playwright_python.sync_playwright", reason="needs the package axe-playwright-python"
)

pytestmark = pytest.mark.slow

BROWSERS = ("chromium", "google-chrome", "chromium-browser", "chrome")
WIDE, NARROW = {"width": 1280, "height": 800}, {"width": 380, "height": 800}
PAPER = {"width": 716, "height": 1045}  # A4 without a browser's margins of 1 cm, in pixels
SERIOUS = {"serious", "critical"}
READY = "html[data-ready]"
DARK = "rgb(22, 23, 27)"
Open = Callable[..., "sync_api.Page"]


@pytest.fixture(scope="module")
def browser() -> Iterator[sync_api.Browser]:
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.skip(f"needs a browser: one of {', '.join(BROWSERS)}")
    # a container's root has no sandbox
    flags = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_api.sync_playwright() as found:
        started = found.chromium.launch(executable_path=path, args=flags)
        yield started
        started.close()


@pytest.fixture(scope="module")
def file(study, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(build("tiny", study, NAMES), encoding="utf-8")
    return path


@pytest.fixture
def opened(browser, file) -> Iterator[Open]:
    """Opens the page; afterwards nothing was asked of a network and nothing has failed."""
    asked: list[str] = []
    failed: list[str] = []
    contexts = []

    def open_page(**options: object) -> sync_api.Page:
        context = browser.new_context(**({"viewport": WIDE} | options))
        contexts.append(context)
        page = context.new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda line: failed.append(line.text) if line.type == "error" else None)
        page.on("pageerror", lambda error: failed.append(str(error)))
        page.goto(file.as_uri())
        page.wait_for_selector(READY, state="attached")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert failed == []
    assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == []


def methods(page: sync_api.Page) -> list[list[str]]:
    """The rows of the table that are shown, as text."""
    rows = page.locator("#methods tbody tr:not([hidden])")
    return [
        [text.strip() for text in rows.nth(place).locator("th, td").all_inner_texts()]
        for place in range(rows.count())
    ]


def marks(page: sync_api.Page) -> sync_api.Locator:
    return page.locator("#chart .mark-symbol.role-mark path")


def faults(page: sync_api.Page) -> list[str]:
    """What axe-core finds that is serious."""
    found = axe.Axe().run(page).response["violations"]
    return [
        f"{fault['id']}: {node['html'][:200]}"
        for fault in found
        if fault["impact"] in SERIOUS
        for node in fault["nodes"]
    ]


def test_first_screen_has_answer_budget_table_and_chart(opened):
    page = opened()
    for place in ("dl.answer", "input[name=memory]", "#methods", "#chart svg"):
        box = page.locator(place).bounding_box()
        assert box["y"] < WIDE["height"]
    chart = page.locator("#chart").bounding_box()
    assert chart["y"] + chart["height"] <= WIDE["height"]
    shown = methods(page)
    assert len(shown) == 7
    scores = [float(row[1].split()[0]) for row in shown]
    assert scores == sorted(scores, reverse=True)
    assert shown[0][3] == "the best"
    # all but the base model, which trains nothing
    assert marks(page).count() == 6


def test_budget_greys_out_what_does_not_fit_and_names_the_best_within(opened):
    page = opened()
    page.select_option("select[name=shape]", "large")
    page.fill("input[name=memory]", "24")
    page.fill("input[name=adapters]", "1000")
    rows = {row[0]: row for row in methods(page)}
    # 14 GB of base, 1 GB shared, 1,000 adapters of 4 bytes x 200 x 7,168 numbers; 8 MB each at r 96
    assert not rows["LoRA-XS, r = 16"][3].startswith("outside")
    assert rows["LoRA-XS, r = 96"][1:] == [
        "not in this study",
        "276 k",
        "within (serving takes 23 GB of 24 GB)",
    ]
    outside = "outside: 1,000 adapters of 96 MB with the base take 110 GB"
    assert rows["LoRA-SB, r = 16"][3] == outside
    outside = page.locator("#methods tr.out")
    assert outside.count() == sum(row[3].startswith("outside") for row in rows.values()) > 0
    verdict = page.inner_text("#verdict")
    assert verdict.startswith(
        "For Large-7B, whose memory is counted, with the scores of Quickstart Llama, which are not "
    )
    assert "are within the budget. Best within it: LoRA-XS, r = 16" in verdict
    assert "Behind it: LoRA-XS, r = 4 by" in verdict or "Cannot be told apart" in verdict
    assert "LoRA-XS, r = 96 (8 MB stored)" in verdict
    left = [
        label
        for label, row in rows.items()
        if row[3].startswith("outside") and row[1] != "not in this study"
    ]
    assert all(
        label in verdict.partition("Outside, for the reasons in their rows: ")[2] for label in left
    )
    assert "Hours" not in verdict
    page.fill("input[name=hours]", "1")
    assert "Hours of training are not known there" in page.inner_text("#verdict")
    faint = [mark.get_attribute("opacity") for mark in marks(page).all()]
    assert faint.count("0.22") == 6 - 2
    page.click("#clear")
    page.wait_for_function("document.querySelectorAll('#methods tr.out').length === 0")
    # the limits alone are gone
    assert page.input_value("select[name=shape]") == "large"
    page.select_option("select[name=shape]", "measured")
    assert page.inner_text("#verdict") == ""


def test_any_method_may_be_the_one_that_all_are_compared_with(opened, found, compared):
    page = opened()
    place = next(n for n, p in enumerate(found) if p.label == "LoRA-SB, r = 16")
    page.select_option("select[name=score]", "world")
    page.select_option("select[name=against]", found[place].key)
    assert page.inner_text("#against-head") == "Against LoRA-SB, r = 16"
    rows = {row[0]: row[3] for row in methods(page)}
    assert rows.pop("LoRA-SB, r = 16") == formats.MISSING
    pairs = {found[other].label: pair for other, pair in against(compared["world"], place).items()}
    for label, text in rows.items():
        assert text.startswith(("≈", "=")) == (not pairs[label].verdict)
        assert f"{abs(100 * pairs[label].value):.1f}" in text
    tied = sorted(pair.detectable for pair in pairs.values() if not pair.verdict)
    half = 100 * tied[len(tied) // 2]
    verdict = page.inner_text("#verdict")
    assert len(tied) > 1
    assert f"Half of these comparisons would find a true difference of {half:.1f} points" in verdict


@pytest.mark.parametrize(
    ("limit", "value", "reason"),
    [
        ("stored", "0.1", "stores"),
        ("hours", "0.0014", "takes"),
        ("memory", "0.45", "training takes"),
    ],
)
def test_each_limit_says_why(opened, limit, value, reason):
    page = opened()
    page.fill(f"input[name={limit}]", value)
    reasons = [row[3] for row in methods(page) if row[3].startswith("outside")]
    assert reasons
    assert all(reason in text for text in reasons)


def test_a_budget_that_nothing_fits_says_so(opened):
    page = opened()
    page.fill("input[name=memory]", "0.000001")
    assert page.inner_text("#verdict").startswith("0 of 7 are within the budget. None of them")


def test_switching_the_cost_moves_the_marks_and_the_column(opened):
    page = opened()
    before = [mark.bounding_box()["x"] for mark in marks(page).all()]
    page.select_option("select[name=cost]", "total")
    page.wait_for_timeout(200)  # one frame of the chart
    assert page.inner_text("#cost-head") == "Seconds of start and training"
    assert methods(page)[0][2].endswith(" s")
    assert [mark.bounding_box()["x"] for mark in marks(page).all()] != before
    # nothing costs time by a closed form, and training and its start some memory
    page.select_option("select[name=shape]", "large")
    assert page.input_value("select[name=cost]") == "stored"
    assert page.locator("select[name=cost] option[value=step]").is_disabled()
    for cost, what in (("peak", "training"), ("start", "the start")):
        page.select_option("select[name=cost]", cost)
        assert page.inner_text("#cost-head").endswith(f"of {what}, without activations")


def test_switching_the_score_ranks_by_a_task(opened, found):
    page = opened()
    page.select_option("select[name=score]", "world")
    best = max((p for p in found if p.scores), key=lambda point: point.scores["world"].mean)
    assert methods(page)[0][0] == best.label
    assert best.label in page.inner_text("#verdict")


def test_hovering_a_mark_shows_every_number_its_runs_and_its_command(opened):
    page = opened()
    marks(page).nth(2).hover()
    page.wait_for_selector("#vg-tooltip-element.visible")
    text = page.inner_text("#vg-tooltip-element")
    numbers = ("n 3", "Trainable numbers", "Stored, an adapter", "Peak memory of training")
    runs = ("results/tiny/runs/", "snakemake --cores all results/tiny/runs/")
    for part in (*numbers, "Peak memory of the start", "Seconds a step", *runs):
        assert part in text, part


def test_by_keyboard_alone_one_chooses_a_cost_sets_a_budget_and_opens_runs(opened):
    page = opened()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    names = []
    page.keyboard.press("Enter")
    for _ in range(9):
        page.keyboard.press("Tab")
        names.append(page.evaluate("document.activeElement.name ?? ''"))
    limits = ["memory", "adapters", "stored", "hours"]
    assert names == ["shape", *limits, "", "score", "against", "cost"]
    page.focus("select[name=cost]")
    page.keyboard.press("ArrowDown")
    assert page.inner_text("#cost-head") == "Stored, an adapter"
    page.focus("#methods a")
    page.keyboard.press("Enter")
    opened_run = page.locator("details[id^=run-][open]")
    opened_run.wait_for()
    assert "results/tiny/runs/" in opened_run.inner_text()
    outline = page.evaluate("getComputedStyle(document.querySelector('#methods a')).outlineStyle")
    assert outline in {"none", "solid"}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(opened, scheme):
    page = opened(color_scheme=scheme)
    page.evaluate("document.querySelectorAll('details').forEach((some) => (some.open = true))")
    page.fill("input[name=memory]", "0.45")
    assert faults(page) == []


def test_dark_follows_the_system_and_ink_of_the_charts_too(opened):
    page = opened(color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == DARK
    label = page.locator("#chart .role-axis-label text").first
    ink = label.evaluate("(text) => getComputedStyle(text).fill")
    assert ink == page.evaluate("getComputedStyle(document.body).color")


def test_at_380_pixels_nothing_is_wider_than_the_screen(opened):
    page = opened(viewport=NARROW)
    assert page.evaluate("document.documentElement.scrollWidth") <= NARROW["width"]
    chart = page.locator("#chart svg").bounding_box()
    assert chart["width"] <= NARROW["width"]
    table = page.locator("#methods").bounding_box()
    assert table["x"] + table["width"] <= NARROW["width"]
    assert faults(page) == []


def test_printing_opens_all_and_leaves_the_form_out(opened):
    page = opened()
    pdf = page.pdf(format="A4")
    assert pdf.startswith(b"%PDF")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    page.emulate_media(media="print")
    assert page.locator("details:not([open])").count() == 0
    assert not page.locator("#choices").is_visible()
    assert page.locator("#methods").is_visible()
    assert len(re.findall(rb"/Type\s*/Page\b", pdf)) > 2
    page.set_viewport_size(PAPER)
    assert page.evaluate("document.documentElement.scrollWidth") <= PAPER["width"]


def test_a_matrix_of_many_methods_is_printed_across(browser, forty, tmp_path):
    path = tmp_path / "report.html"
    path.write_text(build("many", *forty), encoding="utf-8")
    page = browser.new_page()
    page.goto(path.as_uri())
    pdf = page.pdf(format="A4", prefer_css_page_size=True)
    sizes = {
        (float(w), float(h)) for w, h in re.findall(rb"/MediaBox \[0 0 ([\d.]+) ([\d.]+)\]", pdf)
    }
    assert {width > height for width, height in sizes} == {False, True}
    page.set_viewport_size({"width": PAPER["height"], "height": PAPER["width"]})
    page.emulate_media(media="print")
    assert page.evaluate("document.documentElement.scrollWidth") <= PAPER["height"]
    page.close()


def test_without_scripts_the_tables_are_there(browser, file):
    context = browser.new_context(java_script_enabled=False, viewport=WIDE)
    page = context.new_page()
    page.goto(file.as_uri())
    assert len(methods(page)) == 7
    assert "need scripts" in page.inner_text("noscript")
    context.close()
