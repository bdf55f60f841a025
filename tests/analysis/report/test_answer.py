from __future__ import annotations

from dataclasses import replace
from statistics import median

from analysis.report.answer import answer
from analysis.report.points import score_names
from tests.analysis.conftest import NAMES


def said(study, found, compared):
    return answer(study, found, compared, score_names(study.runs, NAMES), NAMES)


def test_the_study_is_one_sentence(study, found, compared):
    assert said(study, found, compared).study == (
        "Quickstart Llama on Arithmetic; World; Sentences: 7 methods (ranks counted apart), "
        "1 to 3 seeds each; 56 of 57 runs have a score."
    )


def test_the_leader_is_the_highest_mean_and_ties_are_what_the_pairs_leave_open(
    study, found, compared
):
    text = said(study, found, compared)
    best = max((point for point in found if point.scores), key=lambda p: p.scores["mean"].mean)
    assert text.leads.startswith(f"{best.label[:1].upper()}{best.label[1:]} is highest by the mean")
    assert "By task: Arithmetic: " in text.leads
    place = found.index(best)
    open_to = [
        found[pair.b if pair.a == place else pair.a].label
        for pair in compared["mean"]
        if place in (pair.a, pair.b) and not pair.verdict
    ]
    for label in open_to:
        assert label in text.ties
    assert text.ties.endswith("cannot be told apart from it." if open_to else f"{best.label}.")


def test_it_says_what_it_does_not_say(study, found, compared):
    text = said(study, found, compared).limits
    assert "nothing of models other than Quickstart Llama (690 k numbers)" in text
    smallest = 100 * median(pair.detectable for pair in compared["mean"])
    assert f"half of the 21 comparisons a true difference of {smallest:.1f} points" in text
    assert "at the edge of what was tried" in text
    assert text.endswith("1 run failed.")


def test_without_any_score_it_leads_to_nothing(study, found):
    runs = study.runs.assign(status="failed", score=float("nan"), reason="no")
    bare = [replace(point, scores={}) for point in found]
    assert said(replace(study, runs=runs), bare, {}).leads == "No run has a score."
