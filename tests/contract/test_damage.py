"""Whatever a stage reads is as it was written, for every method: if not, one line and no result."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from lorasb.errors import UserError
from lorasb.methods.registry import make_variant
from lorasb.models.weights import SUMS
from lorasb.stages.collect import collect
from lorasb.stages.estimate_gradient import estimate_gradient
from lorasb.stages.factorize import factorize_gradient, factorize_weights
from lorasb.stages.measure_spectra import measure_spectra
from lorasb.stages.predict import predict
from lorasb.stages.prepare_task import prepare_task
from lorasb.stages.probe_directions import probe_directions
from lorasb.stages.score import score
from lorasb.stages.select_lr import select_lr
from lorasb.stages.train import train
from lorasb.study.cells import Cell
from lorasb.study.study import Study
from tests.conftest import copy_of_project
from tests.unit.damage import empty, flip_a_bit, truncate

pytestmark = pytest.mark.slow

VARIANTS = [
    *("base", "full", "lora", "rslora", "pissa", "dora", "lora-pro"),
    *("lora-xs", "lora-sb", "lora-sb-random"),
]
TRAINED = [variant for variant in VARIANTS if make_variant(variant).method.trains]
RANKED = [variant for variant in VARIANTS if make_variant(variant).method.has_rank]
NAMES = {"study": "tiny", "model": "quickstart-llama", "task": "reviews"}
TASK = "extends: sentences\nsplits: {train: {rows: 32}, selection: {rows: 8}, test: {rows: 8}}\n"
STUDY = """
description: one task, two steps
models: [quickstart-llama]
tasks: [reviews]
variants: {VARIANTS}
seeds: [0]
learning_rates: {RATES}
sweep: {seeds: [1], learning_rates: {RATES}}
settings:
  training: {steps: 2, epochs: null, batch_size: 4, warmup_ratio: 0.0}
  gradient: {samples: 4}
  probe: {points: 3, rows: 4, random_draws: 2}
  prediction: {with_training: true}
"""
SHARED = "results/tiny/shared"
OF_TASK = "quickstart-llama/reviews"
CELLS = f"results/tiny/runs/{OF_TASK}"
MODEL = "resources/quickstart/model/model.safetensors"
START = {"samples": 4, "seed": 0}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A copy of the project in which every stage of the study has run."""
    with pytest.MonkeyPatch.context() as patch:
        root = copy_of_project(tmp_path_factory.mktemp("damage") / "project")
        patch.chdir(root)
        torch.set_num_threads(1)
        ranks = {name: " {ranks: [2]}" if name in RANKED else " {}" for name in VARIANTS}
        text = STUDY.replace("VARIANTS", ", ".join(f"{name}:{ranks[name]}" for name in VARIANTS))
        text = text.replace("RATES", ", ".join(f'{name}: "1e-2"' for name in TRAINED), 1)
        text = text.replace("RATES", ", ".join(f'{name}: ["1e-2"]' for name in TRAINED))
        Path(MODEL).with_name(SUMS).unlink()  # as for a model of one's own
        Path("config/studies/tiny.yaml").write_text(text, encoding="utf-8")
        Path("config/tasks/reviews.yaml").write_text(TASK, encoding="utf-8")
        Study.load.cache_clear()
        prepare_task(**NAMES)
        factorize_weights("tiny", "quickstart-llama")
        for seed in (0, 1):
            estimate_gradient(**NAMES, samples=4, seed=seed)
            factorize_gradient(**NAMES, samples=4, seed=seed)
        study = Study.load("tiny")
        for made in (*study.cells, *study.sweep_cells):
            train(made)
        for split in ("test", "selection"):
            score(**NAMES, split=split)
        probe_directions(**NAMES)
        measure_spectra(**NAMES)
        collect("tiny")
        select_lr("tiny")
        yield root


@pytest.fixture(autouse=True)
def inside(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(finished)


def folder(variant: str) -> str:
    return str(cell(variant).folder)


def cell(variant: str) -> Cell:
    (found,) = (cell for cell in Study.load("tiny").cells if cell.variant == variant)
    return found


@contextmanager
def put_back(*paths: str | Path) -> Iterator[None]:
    """Afterwards the files and folders are what they were, and no run has failed."""
    kept = Path("kept")
    for number, path in enumerate(map(Path, paths)):
        copy = shutil.copytree if path.is_dir() else shutil.copy2
        kept.mkdir(exist_ok=True)
        copy(path, kept / str(number))
    try:
        yield
    finally:
        for number, path in enumerate(map(Path, paths)):
            if path.is_dir():
                shutil.rmtree(path)
            path.unlink(missing_ok=True)
            (kept / str(number)).rename(path)
        shutil.rmtree(kept)
        for failed in Path(CELLS).rglob("failed.json"):
            failed.unlink()


def refused(run: Callable[[], Any], named: str, *, made_by: str | None = None) -> str:
    """The one line with which a stage ends; it names a file and the command that makes it again."""
    with pytest.raises(UserError) as caught:
        run()
    line = str(caught.value)
    assert "\n" not in line
    assert named in line
    command = re.search(r"`snakemake --cores all --forcerun (\S+) --config study=tiny`", line)
    assert command, line
    assert command[1] == (made_by or named)
    return line


def replace_by_another(path: Path) -> None:
    shutil.copyfile("config/config.yaml", path)


DAMAGES = [truncate, flip_a_bit, empty, replace_by_another, Path.unlink]
# what is read -> by which stage
READ: dict[str, Callable[[], Any]] = {
    f"{SHARED}/data/{OF_TASK}/train.parquet": lambda: estimate_gradient(**NAMES, **START),
    f"{SHARED}/data/{OF_TASK}/test.parquet": lambda: score(**NAMES, split="test"),
    f"{SHARED}/data/{OF_TASK}/manifest.json": lambda: collect("tiny"),
    f"{SHARED}/gradients/{OF_TASK}/n4/seed0/gradient.safetensors": lambda: factorize_gradient(
        **NAMES, **START
    ),
    f"{SHARED}/gradients/{OF_TASK}/n4/seed1/gradient.safetensors": lambda: train(
        next(c for c in Study.load("tiny").sweep_cells if c.variant == "lora-sb-random")
    ),
    f"{SHARED}/gradients/{OF_TASK}/n4/seed0/gradient.json": lambda: collect("tiny"),
    f"{SHARED}/factors/{OF_TASK}/n4/seed0/factors.safetensors": lambda: train(cell("lora-sb")),
    f"{SHARED}/factors/{OF_TASK}/n4/seed0/factors.json": lambda: collect("tiny"),
    f"{SHARED}/factors/quickstart-llama/weights/factors.safetensors": lambda: train(
        cell("lora-xs")
    ),
    f"{CELLS}/lora-sb/r2/lr1e-2/seed0/snapshots.safetensors": lambda: probe_directions(**NAMES),
    f"{CELLS}/lora/r2/lr1e-2/seed0/predictions.jsonl": lambda: score(**NAMES, split="test"),
    f"{CELLS}/lora/r2/lr1e-2/seed1/predictions.jsonl": lambda: score(**NAMES, split="selection"),
    f"{CELLS}/lora/r2/lr1e-2/seed0/train.jsonl": lambda: collect("tiny"),
    f"{CELLS}/lora/r2/lr1e-2/seed0/timing.json": lambda: collect("tiny"),
    f"{CELLS}/lora/r2/lr1e-2/seed0/predict_timing.json": lambda: collect("tiny"),
    f"results/tiny/scores/{OF_TASK}/test.metrics.csv": lambda: collect("tiny"),
    f"results/tiny/scores/{OF_TASK}/test.items.parquet": lambda: collect("tiny"),
    f"results/tiny/scores/{OF_TASK}/selection.metrics.csv": lambda: select_lr("tiny"),
    f"results/tiny/directions/{OF_TASK}.csv": lambda: collect("tiny"),
    f"results/tiny/probes/{OF_TASK}.csv": lambda: collect("tiny"),
    f"results/tiny/spectra/{OF_TASK}.csv": lambda: collect("tiny"),
}


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
@pytest.mark.parametrize("path", READ)
def test_a_damaged_file_is_named_with_its_command(path, damage):
    with put_back(path):
        damage(Path(path))
        refused(READ[path], path)


@pytest.mark.parametrize("path", READ)
def test_a_file_without_its_record_is_named_with_its_command(path):
    (record,) = (
        file
        for file in Path(path).parent.glob("*record.json")
        if Path(path).name in json.loads(file.read_text())["files"]
    )
    with put_back(record):
        record.unlink()
        with pytest.raises(UserError, match="no record of how it was written"):
            READ[path]()


@pytest.mark.parametrize("damage", [truncate, flip_a_bit, empty, replace_by_another])
def test_a_damaged_record_is_named_with_its_command(damage):
    record = f"{CELLS}/lora/r2/lr1e-2/seed0/predict.record.json"
    with put_back(record):
        damage(Path(record))
        refused(READ[f"{CELLS}/lora/r2/lr1e-2/seed0/predictions.jsonl"], record)


def tensors(change: Callable[[dict[str, torch.Tensor]], Any]) -> Callable[[Path], None]:
    """A change of the tensors of a folder, in a file that is whole."""

    def changed(adapter: Path) -> None:
        (path,) = adapter.glob("*.safetensors")
        found = load_file(path)
        change(found)
        save_file(found, path, {"format": "pt"})

    return changed


def first(found: dict[str, torch.Tensor]) -> str:
    return min(found)


CHANGES = {
    "no tensor": tensors(lambda found: found.clear()),
    "one lost": tensors(lambda found: found.pop(first(found))),
    "one renamed": tensors(lambda found: found.update(other=found.pop(first(found)))),
    "one scaled": tensors(lambda found: found[first(found)].mul_(2)),
    "one not finite": tensors(lambda found: found[first(found)].view(-1)[0].fill_(torch.nan)),
    "zeros": tensors(lambda found: [tensor.zero_() for tensor in found.values()]),
    "another rank": tensors(
        lambda found: found.update({first(found): found[first(found)][:1].contiguous()})
    ),
}
# these are found without a record too
VISIBLE = ["no tensor", "one lost", "one renamed", "one not finite", "zeros", "another rank"]


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("variant", TRAINED)
def test_no_changed_adapter_predicts(variant, change):
    adapter = Path(folder(variant)) / "adapter"
    with put_back(adapter):
        CHANGES[change](adapter)
        refused(lambda: predict(cell(variant)), str(adapter))


@pytest.mark.parametrize("change", VISIBLE)
@pytest.mark.parametrize("variant", TRAINED)
def test_a_method_itself_refuses_what_it_cannot_have_saved(variant, change):
    from lorasb.training.setup import load_base

    adapter = Path(folder(variant)) / "adapter"
    network, _ = load_base(Study.load("tiny").resolved("quickstart-llama", "reviews"), 0)
    with put_back(adapter):
        CHANGES[change](adapter)
        refused(
            lambda: make_variant(variant).method.load(network, adapter),
            str(adapter),
        )


@pytest.mark.parametrize("variant", RANKED)
def test_no_changed_config_predicts(variant):
    path = Path(folder(variant)) / "adapter/adapter_config.json"
    config = json.loads(path.read_text())
    scale = "scaling" if "scaling" in config else "lora_alpha"
    for key, value in (
        (scale, 2 * config[scale]),
        ("r", 1),
        ("target_modules", config["target_modules"][1:]),
        ("base_model_name_or_path", "another"),
    ):
        with put_back(path):
            path.write_text(json.dumps(config | {key: value}, indent=2))
            refused(lambda: predict(cell(variant)), str(path), made_by=str(path.parent))


@pytest.mark.parametrize("variant", ["lora", "full"])
def test_no_other_cells_adapter_predicts(variant):
    """The other seed's, with and without its record: shapes and names are the same."""
    own = Path(folder(variant))
    other = own.with_name("seed1")
    with put_back(own):
        shutil.rmtree(own / "adapter")
        shutil.copytree(other / "adapter", own / "adapter")
        refused(lambda: predict(cell(variant)), str(own / "adapter"))
        shutil.copyfile(other / "train.record.json", own / "train.record.json")
        line = refused(lambda: predict(cell(variant)), str(own / "adapter"))
        assert "seed1/train.record.json" in line


@pytest.mark.parametrize(
    ("run", "again"),
    [
        (lambda: predict(cell("lora")), f"{CELLS}/lora/r2/lr1e-2/seed0/adapter"),
        (lambda: predict(cell("base")), f"{CELLS}/base/r0/lr0/seed0/adapter"),
        # the first that was made from the weights, not what was made from it
        (
            lambda: train(cell("lora-sb")),
            f"{SHARED}/gradients/{OF_TASK}/n4/seed0/gradient.safetensors",
        ),
        (
            lambda: train(cell("lora-xs")),
            f"{SHARED}/factors/quickstart-llama/weights/factors.safetensors",
        ),
        (lambda: probe_directions(**NAMES), None),
    ],
)
def test_a_bit_of_the_base_model_is_noticed_by_all_that_follows(run, again):
    with put_back(MODEL, f"{CELLS}/lora-sb", f"{CELLS}/lora-xs"):
        flip_a_bit(Path(MODEL))
        with pytest.raises(UserError, match="the base model resources/quickstart/model") as caught:
            run()
        if again:
            assert f"--forcerun {again} " in str(caught.value)


def test_cells_of_two_base_models_are_not_scored_together():
    own = f"{CELLS}/lora/r2/lr1e-2/seed0"
    with put_back(MODEL, own):
        flip_a_bit(Path(MODEL))
        train(cell("lora"))
        with pytest.raises(UserError, match="another version of the base model"):
            score(**NAMES, split="test")


def test_another_tokenizer_is_noticed():
    path = "resources/quickstart/model/tokenizer.json"
    with put_back(path):
        text = Path(path).read_text()
        vocabulary = json.loads(text)["model"]["vocab"]
        one, two = sorted(vocabulary)[-2:]
        swapped = text.replace(json.dumps(one), "XX").replace(json.dumps(two), json.dumps(one))
        Path(path).write_text(swapped.replace("XX", json.dumps(two)))
        with pytest.raises(UserError, match="the tokenizer resources/quickstart/model"):
            predict(cell("lora"))


def test_an_adapter_of_other_settings_does_not_predict():
    path = "config/methods/lora.yaml"
    with put_back(path):
        text = Path(path).read_text()
        Path(path).write_text(
            text.replace("lora_alpha: ", "lora_dropout: 0.1, lora_alpha: ")
            if "lora_dropout" not in text
            else text.replace("lora_dropout: 0.0", "lora_dropout: 0.1")
        )
        assert Path(path).read_text() != text
        Study.load.cache_clear()
        line = refused(lambda: predict(cell("lora")), f"{folder('lora')}/adapter")
        assert "the settings of" in line


def test_a_failed_prediction_says_why_and_a_good_one_removes_it():
    adapter = Path(folder("lora")) / "adapter"
    failed = Path(folder("lora")) / "failed.json"
    with put_back(adapter):
        flip_a_bit(next(adapter.glob("*.safetensors")))
        line = refused(lambda: predict(cell("lora")), str(adapter))
        assert json.loads(failed.read_text()) == {"reason": line}
    before = (Path(folder("lora")) / "predictions.jsonl").read_bytes()
    predict(cell("lora"))
    assert not failed.exists()
    assert (Path(folder("lora")) / "predictions.jsonl").read_bytes() == before
    score(**NAMES, split="test")
    collect("tiny")


def test_tables_agree_with_what_failed():
    import pandas as pd

    failed = Path(folder("lora")) / "failed.json"
    tables = "results/tiny/tables"
    with put_back(tables, f"results/tiny/scores/{OF_TASK}"):
        failed.write_text('{"reason": "no room"}')
        try:
            with pytest.raises(UserError, match="no room"):
                collect("tiny")
            collect("tiny", available=True)
        finally:
            failed.unlink()
        for name in ("runs.csv", "scores.csv", "losses.csv"):
            table = pd.read_csv(f"{tables}/{name}")
            rows = table[table["variant"] == "lora"]
            if name == "runs.csv":
                assert list(rows["status"]) == ["failed"]
                assert list(rows["reason"]) == ["no room"]
                assert rows["score"].isna().all()
            else:
                assert rows.empty
