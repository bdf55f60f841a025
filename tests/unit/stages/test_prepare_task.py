"""What the rule refuses before it writes anything."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from lorasb.errors import UserError
from lorasb.stages.prepare_task import prepare_task
from tests.unit.study.test_study import changed

WORLD = "config/tasks/world.yaml"
MODEL = "quickstart-llama"


def refused(task: str = "world", model: str = MODEL) -> str:
    with pytest.raises(UserError) as raised:
        prepare_task("quickstart", model, task)
    assert [path.name for path in Path("results").rglob("*.*") if path.is_file()] in ([], [".lock"])
    assert "\n" not in str(raised.value)
    return str(raised.value)


@pytest.mark.parametrize("length", [129, 10_000_000])
def test_rows_longer_than_the_models_positions(project, length):
    changed(project, "config/defaults.yaml", "max_length: 128", f"max_length: {length}")
    for task in ("world", "sentences"):
        assert f"max_length is {length}, and the model has 128 positions" in refused(task)


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        (128, "task world: max_new_tokens is 128, and the model has 128 positions"),
        (120, "the longest prompt has 19 tokens, max_new_tokens is 120, and the model has 128"),
    ],
)
def test_replies_beyond_the_models_positions(project, tokens, message):
    changed(project, WORLD, "max_new_tokens: 8", f"max_new_tokens: {tokens}")
    assert message in refused()


def test_the_tokenizer_of_another_model(project):
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(project / "resources/byte-llama" / name, project / "resources/quickstart/model")
    for task in ("world", "sentences"):
        assert "258 tokens and the model's embedding 236 rows; is it the tok" in refused(task)


def test_right_data_is_written(project):
    prepare_task("quickstart", MODEL, "world")
    folder = project / "results/quickstart/shared/data" / MODEL / "world"
    files = ["manifest.json", "selection.parquet", "test.parquet", "train.parquet"]
    assert set(files) <= {path.name for path in folder.iterdir()}
