"""No number moves unnoticed: the hashes of every shipped study, and what changes them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from lorasb.config.read import names
from lorasb.methods.method import NEEDS_GRADIENT
from lorasb.study import hashes
from lorasb.study.cells import Cell
from lorasb.study.rates import selected_rates_path
from lorasb.study.study import Study
from tests.unit.study.test_study import POINT, SMOKE, changed

REFERENCE = Path(__file__).resolve().parents[2] / "reference" / "hashes.json"


def found(study: Study) -> dict[str, list[str]]:
    """Each kind of hash of one study; of the same thing once."""
    pairs = list(study.pairs)
    starts = [(*pair, number) for pair in pairs for number in samples(study, pair[1])]
    return {
        "data": [hashes.data_hash(study, *pair) for pair in pairs],
        "gradients": [hashes.gradient_hash(study, *start) for start in starts],
        "factors": [hashes.factors_hash(study, *start) for start in starts],
        "weight_factors": [hashes.weight_factors_hash(study, model) for model in study.models],
        "cells": [hashes.cell_hash(study, cell) for cell in study.cells],
        "sweep": [hashes.cell_hash(study, c) for c in study.sweep_cells] if sweeps(study) else [],
        "scores": [hashes.score_hash(study, task) for _, task in pairs],
    }


def samples(study: Study, task: str) -> list[int]:
    """The numbers of samples from which gradients of a task are estimated."""
    started = [v.name for v in study.variants.values() if v.method.needs & NEEDS_GRADIENT]
    return sorted({study.samples(task, name) for name in started})


def sweeps(study: Study) -> bool:
    """Whether the study has a sweep that it can run."""
    empty = [task.splits["selection"].rows == 0 for task in study.tasks.values()]
    return study.sweep is not None and not any(empty)


def test_every_study_is_in_the_reference():
    assert sorted(json.loads(REFERENCE.read_text())) == names("studies")


@pytest.mark.parametrize("study", names("studies"))
def test_hashes_are_those_of_the_reference(study):
    reference = json.loads(REFERENCE.read_text())[study]
    # the order of variants in a file is that of tables, no more
    assert {kind: sorted(own) for kind, own in found(Study.load(study)).items()} == {
        kind: sorted(own) for kind, own in reference.items()
    }


STUDY = "config/studies/quickstart.yaml"
SMOKE_FILE = f"config/studies/{SMOKE}.yaml"


def cell_hash(lr: str = "1e-2", seed: int = 0, **names) -> str:
    """The hash of a cell of quickstart, from files read afresh."""
    split = "selection" if seed == 100 else "test"
    cell = Cell("quickstart", *POINT._replace(**names), lr, seed, split)
    return hashes.cell_hash(Study("quickstart"), cell)


def point_hash(**names) -> str:
    """The same of a point."""
    return hashes.point_hash(Study("quickstart"), POINT._replace(**names))


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("config/defaults.yaml", "weight_decay: 0.0", "weight_decay: 0.1"),
        ("config/methods/lora-sb.yaml", "scaling: 1.0", "scaling: 2.0"),
        ("config/tasks/world.yaml", "data_version: 2", "data_version: 3"),
        ("config/defaults.yaml", "samples: 64", "samples: 32"),
        ("config/models/quickstart-llama.yaml", "q_proj, ", ""),
        ("config/models/quickstart-llama.yaml", "dtype:", "attention: eager\ndtype:"),
    ],
)
def test_hash_changes_with_what_training_depends_on(project, file, old, new):
    before = cell_hash()
    changed(project, file, old, new)
    assert cell_hash() != before


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("config/defaults.yaml", "batch_size: 128", "batch_size: 64"),  # of prediction
        ("config/methods/lora-sb.yaml", "label: LoRA-SB", "label: another name"),
        ("config/tasks/world.yaml", "score_version: 2", "score_version: 3"),
        ("config/methods/lora-xs.yaml", "scaling: 1.0", "scaling: 2.0"),
        ("config/defaults.yaml", "random_draws: 20", "random_draws: 30"),
    ],
)
def test_hash_does_not_change_with_what_it_does_not(project, file, old, new):
    before = cell_hash()
    changed(project, file, old, new)
    assert cell_hash() == before


def data_hash() -> str:
    """The hash of the prepared rows of MRPC, from files read afresh."""
    return hashes.data_hash(Study(SMOKE), "all-minilm-l6-v2", "mrpc")


@pytest.mark.parametrize(
    ("split", "form", "same"),
    [
        # what follows from the split being cut, and what is the default of others
        ("selection: {from: train, rows: 500", "normalised", True),
        ("test: {from: validation, rows: null", "none", True),
        ("selection: {from: train, rows: 500", "exact", False),
        ("selection: {from: train, rows: 500", "none", False),
        ("test: {from: validation, rows: null", "exact", False),
    ],
)
def test_hash_changes_with_the_training_rows_that_are_dropped(project, split, form, same):
    before = data_hash()
    changed(project, "config/tasks/_glue.yaml", split, f"{split}, drop_overlap: {form}")
    assert (data_hash() == before) == same


@pytest.mark.parametrize(
    ("path", "sha256", "same"),
    [("used.json", "null", False), ("unused.json", "null", True), ("used.json", "a" * 64, True)],
)
def test_hash_changes_with_the_content_of_a_file_on_disk(project, path, sha256, same):
    """A checksum in the task is part of the hash itself, and the file is held against it."""
    for name in ("used.json", "unused.json"):
        (project / name).write_text("[]")
    files = f"{{used: {{path: used.json, sha256: {sha256}}}, unused: {{path: unused.json}}}}"
    cut = "{train: {from: used, rows: null}, selection: {from: used, rows: 9}"
    (project / "config/tasks/mrpc.yaml").write_text(
        "{label: Own, kind: classification, data_version: 1, score_version: 1, num_labels: 2, "
        "columns: {text: [a], label: b}, metrics: [accuracy], primary: accuracy, "
        f"source: {{loader: files, folder: ., files: {files}}}, "
        f"splits: {cut}, test: {{from: used, rows: 9}}}}}}"
    )
    before = data_hash()
    (project / path).write_text("[1]")
    assert (data_hash() == before) == same
    # what reads it says so
    (project / path).unlink()
    data_hash()


def test_nothing_is_dropped_for_a_split_without_rows(project):
    changed(project, "config/tasks/_glue.yaml", "rows: 500", "rows: 0")
    before = data_hash()
    changed(project, "config/tasks/_glue.yaml", "rows: 0", "rows: 0, drop_overlap: exact")
    assert data_hash() == before


@pytest.mark.parametrize(
    ("old", "new", "data", "score"),
    [
        ("flexible: true_false", "flexible: choice", False, True),
        ("flexible: choice", "flexible: option", False, True),
        ("from: boolq", "from: piqa", True, False),
        ("label: BoolQ", "label: another name", False, False),
        ("score_version: 2", "score_version: 3", False, True),
        ("max_new_tokens: 32", "max_new_tokens: 16", True, False),
    ],
)
def test_rules_of_evaluation_sets_concern_scoring_alone(project, old, new, data, score):
    changed(project, STUDY, "tasks: [", "tasks: [commonsense, ")
    names = ("quickstart-llama", "commonsense")
    seen = []
    for change in (False, True):
        if change:
            changed(project, "config/tasks/commonsense.yaml", old, new)
        study = Study("quickstart")
        seen.append((hashes.data_hash(study, *names), hashes.score_hash(study, "commonsense")))
    before, after = seen
    assert (before[0] != after[0], before[1] != after[1]) == (data, score)


def test_only_methods_that_start_from_a_gradient_depend_on_its_settings(project):
    before = cell_hash(variant="lora-xs")
    changed(project, "config/defaults.yaml", "samples: 64", "samples: 32")
    assert cell_hash(variant="lora-xs") == before


def test_a_variant_may_have_its_own_number_of_samples(project):
    changed(project, STUDY, "  lora-sb: {", "  lora-sb-n5: {ranks: [16]}\n  lora-sb: {")
    study = Study("quickstart")
    own, other = (
        Cell("quickstart", *POINT._replace(variant=v), "1e-2", 0, "test")
        for v in ("lora-sb-n5", "lora-sb")
    )
    assert study.samples("world", "lora-sb") == 64
    assert study.samples("world", "lora-sb-n5") == 5
    assert "/world/n5/seed0/" in str(study.start_file(own, "gradient"))
    assert "/world/n64/seed0/" in str(study.start_file(other, "gradient"))
    assert cell_hash(variant="lora-sb-n5") != cell_hash()
    changed(project, "config/methods/lora-sb.yaml", "samples: 5}", "samples: 64}")
    assert cell_hash(variant="lora-sb-n5") == cell_hash()


VARIANTS = ["lora-sb", "lora-xs", "full", "lora-sb-noise1"]


def quickstart_hashes():
    """Of the data, the gradient and the factors, then of points."""
    study, names = Study("quickstart"), ("quickstart-llama", "world")
    shared = [
        hashes.data_hash(study, *names),
        hashes.gradient_hash(study, *names, 64),
        hashes.factors_hash(study, *names, 64),
    ]
    return shared + [point_hash(variant=variant) for variant in VARIANTS]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        # data, gradient, factors, then the points
        ("svd: converged", "svd: one-pass", [0, 0, 1, 1, 0, 0, 1]),
        ("learning_rate: first-step", "learning_rate: loader-warmup", [0, 0, 0, 1, 0, 0, 1]),
        ("epoch: last", "epoch: best", [0, 0, 0, 1, 1, 1, 1]),
    ],
)
def test_options_are_hashed_where_they_are_not_the_default(project, old, new, expected):
    changed(project, STUDY, "  lora-sb: {", "  lora-sb-noise1: {ranks: [16]}\n  lora-sb: {")
    before = quickstart_hashes()
    changed(project, "config/defaults.yaml", old, new)
    assert [int(a != b) for a, b in zip(before, quickstart_hashes(), strict=True)] == expected


def test_sampling_makes_training_and_predictions_run_again(project):
    """Draws are made for a batch at a time, so its size counts then."""

    def found():
        study = Study("quickstart")
        data = hashes.data_hash(study, "quickstart-llama", "arithmetic")
        return data, point_hash(task="arithmetic")

    seen = [found()]
    path = project / "config/tasks/arithmetic.yaml"
    path.write_text(path.read_text() + "sampling: {temperature: 0.1, top_p: 0.75, top_k: 40}\n")
    seen.append(found())
    changed(project, STUDY, "batch_size: 300", "batch_size: 30")
    seen.append(found())
    data, points = zip(*seen, strict=True)
    assert data[0] != data[1] == data[2]
    assert len(set(points)) == 3


def test_the_number_of_replies_moves_predictions_and_no_rows(project):
    def found():
        data = hashes.data_hash(Study("quickstart"), "quickstart-llama", "arithmetic")
        return data, point_hash(task="arithmetic")

    path = project / "config/tasks/arithmetic.yaml"
    text = path.read_text().replace("metrics: [", "metrics: [answer_loss, ")
    seen = []
    for replies in (3, 4):
        path.write_text(f"{text}replies: {replies}\n")
        seen.append(found())
    (data, point), (same, other) = seen
    assert data == same
    assert point != other


def test_the_best_epoch_depends_on_how_it_is_scored(project):
    def scored(version: int) -> str:
        changed(
            project,
            "config/tasks/world.yaml",
            f"score_version: {version - 1}",
            f"score_version: {version}",
        )
        return point_hash()

    assert scored(3) == scored(4)
    changed(project, "config/defaults.yaml", "epoch: last", "epoch: best")
    assert scored(5) != scored(6)


def test_options_at_their_defaults_are_in_no_hash(monkeypatch):
    """A published table of learning rates has this hash."""
    rate = Study("quickstart").selected_rates[POINT]
    assert point_hash() == rate["settings"]
    monkeypatch.setattr(hashes, "LATER", {})
    assert point_hash() != rate["settings"]


def test_what_is_kept_is_part_of_a_final_cells_hash_alone(project, monkeypatch):
    before = [cell_hash(), cell_hash(seed=100)]
    monkeypatch.setattr(hashes, "SNAPSHOTS", 99)
    after = [cell_hash(), cell_hash(seed=100)]
    assert after[0] != before[0]
    assert after[1] == before[1]


def test_rank_lr_and_seed_are_part_of_the_hash():
    seen = {cell_hash(), cell_hash(rank=4), cell_hash(lr="2e-2"), cell_hash(seed=1)}
    assert len(seen) == 4


@pytest.fixture
def selected(project):
    """A project whose smoke study has selected rates, chosen under its present settings."""
    study, text = Study(SMOKE), (project / SMOKE_FILE).read_text()
    fixed = next(line for line in text.splitlines() if "learning_rates" in line)
    changed(project, SMOKE_FILE, fixed, "learning_rates: selected")
    rows = [(*point, study.rate(point), hashes.point_hash(study, point)) for point in study.points]
    lines = [("model", "task", "variant", "rank", "lr", "settings"), *rows]
    table = "\n".join("\t".join(map(str, line)) for line in lines)
    (project / selected_rates_path(SMOKE)).write_text(table)
    return project


@pytest.mark.parametrize(
    ("file", "old", "new", "stale"),
    [
        ("config/tasks/mrpc.yaml", "label: MRPC", "label: MRPC\ndata_version: 2", {"mrpc"}),
        (SMOKE_FILE, "steps: 8", "steps: 9", {"mrpc", "stsb"}),
        (SMOKE_FILE, "seeds: [0]", "seeds: [0, 1]", set()),
        ("config/tasks/_glue.yaml", "data_version: 1", "data_version: 2", {"mrpc", "stsb"}),
        ("config/tasks/_glue.yaml", "score_version: 1", "score_version: 2", set()),
        ("config/tasks/mrpc.yaml", "label: MRPC", "label: MRPC\nselection_metric: f1", {"mrpc"}),
        ("config/tasks/mrpc.yaml", "label: MRPC", "label: MRPC\nprimary: f1", {"mrpc"}),
    ],
)
def test_rates_chosen_under_other_settings_are_stale(selected, file, old, new, stale):
    assert hashes.stale_rates(Study(SMOKE)) == []
    changed(selected, file, old, new)
    assert {line.split(",")[0] for line in hashes.stale_rates(Study(SMOKE))} == stale


def test_fixed_rates_are_never_stale(project):
    changed(project, SMOKE_FILE, "steps: 8", "steps: 9")
    assert hashes.stale_rates(Study(SMOKE)) == []


def test_the_suites_protocol_is_the_defaults(project):
    before = cell_hash()
    changed(project, STUDY, "seeds: [0, 1, 2]", "protocol: suite\nseeds: [0, 1, 2]")
    assert cell_hash() == before


def test_known_numbers_of_rows_do_not_concern_the_hash(project):
    def found():
        return hashes.data_hash(Study(SMOKE), "all-minilm-l6-v2", "mrpc")

    before = found()
    changed(project, "config/tasks/mrpc.yaml", ", rows: {train: 3668, validation: 408}", "")
    assert found() == before
    changed(project, "config/tasks/_glue.yaml", "rows: 500", "rows: 400")
    assert found() != before


@pytest.mark.parametrize(
    ("dtype", "model", "task", "expected"),
    [
        ("float32", "quickstart-llama", "world", set()),
        ("float32", "all-minilm-l6-v2", "sst2", set()),
        # adapters without a head were float32 all along
        ("bfloat16", "quickstart-llama", "world", {"full"}),
        ("bfloat16", "all-minilm-l6-v2", "sst2", {"full", "lora", "lora-sb"}),
        ("bfloat16", "all-minilm-l6-v2", "stsb", {"full", "lora", "lora-sb"}),
    ],
)
def test_what_was_trained_in_bfloat16_once_runs_again(project, dtype, model, task, expected):
    changed(project, f"config/models/{model}.yaml", "dtype: float32", f"dtype: {dtype}")
    path = project / STUDY
    data = yaml.safe_load(path.read_text()) | {"models": [model], "tasks": [task]}
    data["variants"] = {"base": {}, "full": {}, "lora": {"ranks": [8]}, "lora-sb": {"ranks": [8]}}
    path.write_text(yaml.safe_dump(data | {"task_settings": {}}))
    study = Study("quickstart")
    found = {point.variant for point in study.points if hashes._precision_key(study, point)}
    assert found == expected


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("head_learning_rate: null", 'head_learning_rate: "1e-3"'),
        ("compile: false", "compile: true"),
    ],
)
def test_a_training_setting_that_came_later_is_part_of_a_cell(project, before, after):
    def found() -> str:
        (cell, *_) = Study(SMOKE).cells
        return hashes.point_hash(Study(SMOKE), cell.point)

    old = found()
    changed(project, "config/defaults.yaml", before, after)
    assert found() != old
