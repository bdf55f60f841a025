from __future__ import annotations

from pathlib import Path

import pytest

from lorasb.config import read as config
from lorasb.errors import UserError
from lorasb.files import write_json
from lorasb.stages import plan
from lorasb.study.study import Study

STUDY = """
description: a large model, a generated task
models: [mistral-7b]
tasks: [world]
variants:
  full: {seeds: [0]}
  lora: {ranks: [32]}
  lora-sb: {ranks: [32, 96]}
seeds: [0, 1]
learning_rates: {full: "1e-5", lora: "1e-4", lora-sb: "1e-4"}
settings:
  training: {steps: 100, epochs: null, batch_size: 2, gradient_accumulation: 8, max_length: 64}
  prediction: {batch_size: 2}
"""
MISTRAL = 7_241_732_096


def write(project: Path, text: str = STUDY) -> Study:
    """The study with this text, read afresh."""
    (project / "config/studies/large.yaml").write_text(text, encoding="utf-8")
    return Study("large")


@pytest.fixture
def study(project: Path) -> Study:
    return write(project)


def rows(study: Study, teraflops: float = 100.0) -> dict[tuple[str, int], dict[str, float]]:
    table = plan.planned(study, teraflops)
    return {(row["variant"], row["rank"]): row for row in table.to_dict("records")}


def test_stated_speed_counts_operations(study):
    found = rows(study)
    tokens = 100 * 2 * 8 * 64
    assert {row["tokens"] for row in found.values()} == {tokens}
    assert found["full", 0]["cells"] == 1
    assert found["lora", 32]["cells"] == 2
    hours = tokens * MISTRAL / 100e12 / 3600
    assert found["full", 0]["gpu_hours"] == pytest.approx(6 * hours)
    assert found["lora", 32]["gpu_hours"] == pytest.approx(2 * 4 * hours)
    assert rows(study, 200.0)["full", 0]["gpu_hours"] == pytest.approx(3 * hours)


# of one layer and token: width 4096, inner width 14336
LAYER = 10 * 4096 + 4 * 14336
# two rows of 64 tokens in 32 layers, without autocast; 32,000 tokens in the loss
KEPT = 2 * 64 * (3.25 * 32 * LAYER + 32000 * (2 + 12))
KEPT_FLOAT32 = 2 * 64 * (4 * 32 * LAYER + 32000 * (4 + 12))
ADAPTED = 32 * (2 * 4096 * 4096 + 2 * 1024 * 4096 + 3 * 14336 * 4096)


def test_memory_holds_weights_moments_and_activations(study):
    found = rows(study)
    # weights in float32 with a gradient and two moments, although the base has bfloat16
    expected = MISTRAL * 4 * (1 + 3) + KEPT_FLOAT32
    assert found["full", 0]["memory_gb"] == pytest.approx(expected / 1e9)
    expected = MISTRAL * 2 + 4 * 4 * 83_886_080 + KEPT
    assert found["lora", 32]["memory_gb"] == pytest.approx(expected / 1e9)


def test_memory_holds_the_estimate_that_a_method_starts_from(study):
    found = rows(study)
    # 16 samples of a pass, and the largest weight's gradient; the sums are on the host
    estimate = MISTRAL * 2 + 8 * KEPT + 2 * 14336 * 4096
    assert found["lora-sb", 32]["memory_gb"] == pytest.approx(estimate / 1e9)
    assert found["lora-sb", 32]["host_gb"] > 4 * ADAPTED / 1e9
    assert found["lora", 32]["host_gb"] < 4 * ADAPTED / 1e9


def test_every_rule_that_loads_a_model_is_planned(study):
    found = plan.by_rule(study).set_index("rule")
    assert list(found.index) == [
        *("prepare_task", "estimate_gradient", "factorize_gradient", "train", "predict"),
        *("probe_directions", "measure_spectra"),
    ]
    assert found.loc["train", "gpu_gb"] == rows(study)["full", 0]["memory_gb"]
    for rule in ("estimate_gradient", "train", "predict", "probe_directions"):
        assert found.loc[rule, "gpu_gb"] > 2 * MISTRAL / 1e9
    # the decomposition of a gradient takes no GPU
    assert found.loc["factorize_gradient", "gpu_gb"] == 0
    assert found.loc["factorize_gradient", "host_gb"] > 4 * ADAPTED / 1e9


def test_summary_names_what_comes_from_the_hub(study, project):
    assert "14.5 GB for downloaded weights" in plan.summary(study)
    bundled = write(project, STUDY.replace("mistral-7b", "quickstart-llama"))
    assert ", 0 GB for downloaded weights" in plan.summary(bundled)


def test_a_study_without_ranks_is_planned(project):
    text = STUDY.replace("  lora: {ranks: [32]}\n  lora-sb: {ranks: [32, 96]}\n", "")
    found = plan.by_rule(write(project, text))
    assert "factorize_gradient" not in set(found["rule"])


def test_disk_counts_what_is_stored_and_shares_the_start(study):
    found = rows(study)
    # the adapter, and six copies along training
    assert found["lora", 32]["disk_gb"] == pytest.approx(2 * 7 * 4 * 83_886_080 / 1e9)
    # three times values and two moments
    assert found["lora", 32]["checkpoint_gb"] == pytest.approx(3 * 3 * 4 * 83_886_080 / 1e9)
    matrices = [(4096, 4096), (1024, 4096), (1024, 4096), (4096, 4096)]
    matrices += [(14336, 4096), (14336, 4096), (4096, 14336)]
    one_seed = 32 * sum(m * n + 96 * (m + n + 1) for m, n in matrices)
    own = sum(row["disk_gb"] for row in found.values())
    total = own + 2 * 4 * one_seed / 1e9
    assert f"{total:.3g} GB of disk" in plan.summary(study)


def test_cells_that_have_run_give_the_speed(study):
    first, second = (cell for cell in study.cells if cell.variant == "lora")
    write_json(first.folder / "timing.json", {"tokens_per_second": 512.0})
    row = rows(study)["lora", 32]
    assert row["speed"] == "measured"
    assert row["gpu_hours"] == pytest.approx(2 * 100 * 2 * 8 * 64 / 512.0 / 3600)
    write_json(second.folder / "timing.json", {"tokens_per_second": 1536.0})
    assert rows(study)["lora", 32]["gpu_hours"] == pytest.approx(row["gpu_hours"] / 2)
    assert rows(study)["full", 0]["speed"] == "stated"


def test_prepared_rows_give_steps_and_lengths(project):
    study = write(project, STUDY.replace("steps: 100, epochs: null", "steps: null, epochs: 2"))
    config_rows = 3200
    assert rows(study)["lora", 32]["steps"] == config_rows * 2 / 16
    folder = project / "results/large/shared/data/mistral-7b/world"
    write_json(
        folder / "manifest.json", {"splits": {"train": {"rows": 161, "tokens": {"median": 20.5}}}}
    )
    row = rows(study)["lora", 32]
    assert row["steps"] == 21  # 322 rows in steps of 16, rounded up
    assert row["tokens"] == 21 * 16 * 20


def test_unknown_number_of_rows_is_an_error(project):
    text = STUDY.replace("[mistral-7b]", "[roberta-large]").replace("[world]", "[mrpc]")
    text = text.replace("steps: 100, epochs: null", "steps: null, epochs: 1")
    task = project / "config/tasks/mrpc.yaml"
    known = ", rows: {train: 3668, validation: 408}"
    assert known in task.read_text()
    # what is known of the source, less the selection rows
    assert plan.planned(write(project, text))["steps"].max() == (3668 - 500) / 16
    task.write_text(task.read_text().replace(known, ""))
    assert config.load_task_config("mrpc")["splits"]["train"]["rows"] is None
    with pytest.raises(UserError, match=r"mrpc: the number of .*not known.*mrpc/manifest.json"):
        plan.planned(write(project, text))


def test_files_know_their_rows(project):
    text = STUDY.replace("[world]", "[commonsense]")
    text = text.replace("steps: 100, epochs: null", "steps: null, epochs: 2")
    assert plan.planned(write(project, text))["steps"].max() == (170420 - 500) * 2 / 16


def test_memory_holds_the_moments_of_the_method(project):
    text = STUDY.replace("  lora: {ranks", "  lora-pro: {ranks", 1)
    found = rows(write(project, text.replace('full: "1e-5", lora:', 'full: "1e-5", lora-pro:')))
    # A, B and their gradients, then two moments of each adapted weight, in float32
    more = 4 * (2 * 83_886_080 + 2 * ADAPTED)
    expected = MISTRAL * 2 + more + KEPT
    assert found["lora-pro", 32]["memory_gb"] == pytest.approx(expected / 1e9)
