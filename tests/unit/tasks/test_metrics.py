"""Against formulas written out here, in float64."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import evaluate
import numpy as np
import pytest
import yaml

from lorasb.tasks import checks
from lorasb.tasks.answers import COMPARATORS, EXTRACTORS
from lorasb.tasks.metrics import METRICS, compute

ROOT = Path(__file__).resolve().parents[3]
# float64 sums of 60 numbers of size 1: rounding stays below 60 * 2e-16
CLOSE = 1e-13


def classes(seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    gold = rng.integers(0, 2, 60)
    return np.where(rng.random(60) < 0.7, gold, 1 - gold), gold


def counts(found: np.ndarray, gold: np.ndarray) -> tuple[int, int, int, int]:
    return (
        int(np.sum((found == 1) & (gold == 1))),
        int(np.sum((found == 1) & (gold == 0))),
        int(np.sum((found == 0) & (gold == 1))),
        int(np.sum((found == 0) & (gold == 0))),
    )


def test_classes_against_the_confusion_matrix():
    found, gold = classes(0)
    tp, fp, fn, tn = counts(found, gold)
    root = np.sqrt(float((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)))
    assert compute("accuracy", found, gold) == pytest.approx((tp + tn) / 60, abs=CLOSE)
    assert compute("f1", found, gold) == pytest.approx(2 * tp / (2 * tp + fp + fn), abs=CLOSE)
    assert compute("matthews", found, gold) == pytest.approx((tp * tn - fp * fn) / root, abs=CLOSE)


def test_f1_is_that_of_class_1():
    # F1 of class 0 would be 0.8
    assert compute("f1", [0, 0, 1, 0], [0, 0, 1, 1]) == pytest.approx(2 / 3, abs=CLOSE)


def test_f1_of_more_classes_is_the_mean_of_those_predicted_or_there():
    # F1 of classes 0, 1 and 3 is 2/3, 1/2 and 0
    found, gold = [0, 0, 1, 3], [0, 1, 1, 1]
    assert compute("f1", found, gold, 6) == pytest.approx((2 / 3 + 1 / 2 + 0) / 3, abs=CLOSE)


def test_pearson_against_its_formula():
    rng = np.random.default_rng(1)
    gold = rng.normal(size=60)
    found = gold + rng.normal(size=60)
    a, b = found - found.mean(), gold - gold.mean()
    expected = a @ b / np.sqrt((a @ a) * (b @ b))
    assert compute("pearson", found, gold) == pytest.approx(expected, abs=CLOSE)


def test_spearman_is_pearson_of_mean_ranks():
    found, gold = [0.1, 0.4, 0.4, 9.0, 2.0], [1.0, 3.0, 2.0, 4.0, 4.0]
    ranks_found, ranks_gold = [1.0, 2.5, 2.5, 5.0, 4.0], [1.0, 3.0, 2.0, 4.5, 4.5]
    expected = compute("pearson", ranks_found, ranks_gold)
    assert compute("spearman", found, gold) == pytest.approx(expected, abs=CLOSE)


@pytest.mark.parametrize(
    ("name", "found", "gold"),
    [
        ("matthews", [1, 1, 1], [0, 1, 1]),
        ("matthews", [0, 1, 1], [1, 1, 1]),
        ("f1", [0, 0], [0, 0]),
        ("pearson", [2.5, 2.5, 2.5], [0.0, 1.0, 5.0]),
        ("spearman", [2.5, 2.5, 2.5], [0.0, 1.0, 5.0]),
        ("pearson", [0.0, 1.0], [3.0, 3.0]),
    ],
)
def test_what_is_not_defined_is_zero(name, found, gold):
    assert compute(name, found, gold) == 0.0


def test_all_are_evaluate_metrics_and_every_task_knows_them():
    assert all(issubclass(metric, evaluate.Metric) for metric in METRICS.values())
    assert checks.METRICS_OF_KIND["classification"] | checks.METRICS_OF_KIND["regression"] == set(
        METRICS
    )


def test_the_schema_lists_the_metrics_and_extractors_that_there_are():
    text = (ROOT / "lorasb/config/schemas/task.schema.yaml").read_text()
    definitions = yaml.safe_load(text)["$defs"]
    labelled = definitions["labelled"]["properties"]["metrics"]["items"]["enum"]
    generation = definitions["generation"]["properties"]["metrics"]["items"]["enum"]
    assert (
        set(labelled)
        == checks.METRICS_OF_KIND["classification"] | checks.METRICS_OF_KIND["regression"]
    )
    assert set(generation) == checks.METRICS_OF_KIND["generation"]
    assert set(definitions["extractor"]["enum"]) == set(EXTRACTORS)
    comparators = definitions["rule"]["then"]["properties"]["compare"]["enum"]
    assert set(comparators) == set(COMPARATORS)


def test_the_global_generator_is_left_alone():
    before = np.random.get_state()[1].copy()
    compute("accuracy", [0, 1], [0, 0])
    assert (np.random.get_state()[1] == before).all()


@pytest.mark.slow
def test_nothing_is_written_to_the_home_folder(tmp_path):
    home, scratch = tmp_path / "home", tmp_path / "scratch"
    home.mkdir()
    scratch.mkdir()
    code = (
        "from lorasb.tasks.metrics import METRICS, compute\n"
        "for name in METRICS:\n"
        "    print(round(compute(name, [0, 1], [0, 1]), 12))"
    )
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("HF_", "XDG_"))
    }
    environment = kept | {"HOME": str(home), "TMPDIR": str(scratch), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["1.0"] * len(METRICS)
    assert list(home.rglob("*")) == []
    assert list(scratch.rglob("*")) == []
