from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from analysis import stats
from analysis.tables import paper
from lorasb.config import read as config
from tests.analysis.conftest import NAMES

ROOT = Path(__file__).resolve().parents[3]
PAPER = pd.read_csv(ROOT / "analysis/paper.csv")
GLUE = {"cola": "matthews", "rte": "accuracy", "mrpc": "accuracy"} | {
    "stsb": "pearson",
    **{"qnli": "accuracy", "sst2": "accuracy"},
}
COUNT = 55_296  # r = 24 on RoBERTa-large


def study(tasks: dict[str, str], seeds: int = 3) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Runs and scores of LoRA-SB, r = 24, on RoBERTa-large; a seed's tasks differ by a point."""
    cells = [
        {"model": "roberta-large", "task": task, "variant": "lora-sb", "rank": 24, "seed": seed}
        | {"metric": metric, "set": None, "value": 0.8 + 0.01 * place + 0.002 * seed}
        | {"trainable_parameters": COUNT}
        for place, (task, metric) in enumerate(tasks.items())
        for seed in range(seeds)
    ]
    table = pd.DataFrame(cells)
    return table, table


def line(table, **where):
    for name, value in where.items():
        table = table[table[name] == value]
    (found,) = table.itertuples()
    return found


@pytest.mark.parametrize(
    ("count", "text", "same"),
    [
        (83_886_080, "83.88M", True),  # cut
        (108_036_096, "108.04M", True),  # rounded
        (2_162_688, "2162K", True),
        (55_296, "55.2K", True),
        (55_300, "55.2K", False),
        (1_572_864, "2162K", False),
        (7_241_732_096, "7.24B", True),
    ],
)
def test_printed_counts_may_be_rounded_or_cut(count, text, same):
    assert paper.same_count(count, text) is same


def test_every_row_names_what_the_suite_has():
    rows = PAPER[PAPER["task"] != paper.MEAN].fillna({"set": ""})
    for row in rows.itertuples():
        config.load_model_config(row.model)
        config.load_variant(row.variant)
        data = config.load_task_config(row.task)
        assert row.metric in data["metrics"]
        assert row.set in (data["splits"]["test"].get("sets") or {""})


def test_a_mean_is_that_of_its_rows():
    glue = PAPER[PAPER["table"] == "Table 3"]
    for _, part in glue.groupby("variant"):
        mean = part["task"] == paper.MEAN
        # both are printed with two digits
        assert part[~mean]["value"].mean() == pytest.approx(part[mean]["value"].item(), abs=0.01)


def test_ours_stand_beside_the_papers():
    table = paper.compared(PAPER, *study(GLUE))
    assert set(table["model"]) == {"roberta-large"}
    assert len(table) == 21
    found = line(table, task="rte", variant="lora-sb")
    expected = stats.mean_interval([0.81, 0.812, 0.814])
    assert (found.mean, found.low, found.high, found.n) == pytest.approx(
        (expected.mean, expected.low, expected.high, 3)
    )
    assert found.paper == pytest.approx(0.8303)
    assert found.difference == pytest.approx(expected.mean - 0.8303)
    assert (found.trainable_parameters, found.same_parameters) == (COUNT, "yes")


def test_a_mean_needs_all_tasks_of_a_seed():
    runs, scores = study(GLUE)
    assert line(paper.compared(PAPER, runs, scores), task="mean", variant="lora-sb").n == 3
    fewer = scores.query("task != 'qnli' or seed != 1")
    found = line(paper.compared(PAPER, runs, fewer), task="mean", variant="lora-sb")
    assert found.n == 2
    assert found.mean == pytest.approx(0.825 + 0.002)


def test_what_was_not_run_says_so():
    runs, scores = study({"cola": "matthews"})
    printed = paper.printed(paper.compared(PAPER, runs.assign(model="mistral-7b"), scores), NAMES)
    assert len(printed) == 6
    assert set(printed["Ours"]) == {paper.NOT_RUN}
    assert set(printed["Same"]) == {"–"}  # noqa: RUF001
    assert printed["Score"][0] == "MetaMath: GSM8K, accuracy, strict"
    assert printed["Paper"][0] == "61.94"


def test_printed_has_interval_and_number_of_seeds():
    printed = paper.printed(paper.compared(PAPER, *study(GLUE)), NAMES)
    found = printed[(printed["Method"] == "LoRA-SB") & (printed["Score"] == "Mean of the tasks")]
    assert found["Ours"].item() == "82.70 [82.20, 83.20] (3)"
    assert found["Difference"].item() == "-4.46"
    assert found["Trainable, ours"].item() == "55,296"
