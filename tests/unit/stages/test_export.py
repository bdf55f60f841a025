"""A cell's adapter outside: plain PEFT, without lorasb, gives the same answers."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from lorasb.errors import UserError
from lorasb.files import read_jsonl
from lorasb.stages.estimate_gradient import estimate_gradient
from lorasb.stages.export import export
from lorasb.stages.factorize import factorize_gradient
from lorasb.stages.prepare_task import prepare_task
from lorasb.stages.score import score
from lorasb.stages.train import train
from lorasb.study.study import Study
from lorasb.tasks.prepare import read_split

MODEL = "quickstart-llama"
TASK = """
# Sums. MIT.

extends: arithmetic
splits: {train: {rows: 60}, selection: {rows: 8}, test: {rows: 12}}
"""
STUDY = """
description: two adapters
models: [quickstart-llama]
tasks: [sums]
variants: {base: {}, lora-sb: {ranks: [4]}, lora: {ranks: [2]}}
seeds: [0, 1]
learning_rates: {lora-sb: "1e-2", lora: "1e-2"}
settings:
  training: {steps: 4, epochs: null, batch_size: 8}
  gradient: {samples: 8}
  probe: {points: 0}
"""
PLAIN = """
import json, sys
sys.modules["lorasb"] = None
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

base, adapter, new_tokens = sys.argv[1], sys.argv[2], int(sys.argv[3])
model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), adapter).eval()
tokenizer = AutoTokenizer.from_pretrained(base)
for ids in json.load(sys.stdin):
    found = model.generate(
        input_ids=torch.tensor([ids]), attention_mask=torch.ones(1, len(ids)).long(),
        max_new_tokens=new_tokens, do_sample=False, pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )[0, len(ids):]
    print(json.dumps(tokenizer.decode(found, skip_special_tokens=True).strip()))
"""


@pytest.fixture
def trained(project: Path) -> Study:
    (project / "config/tasks/sums.yaml").write_text(TASK.lstrip())
    (project / "config/studies/tiny.yaml").write_text(STUDY)
    prepare_task("tiny", MODEL, "sums")
    study = Study.load("tiny")
    for cell in study.cells:
        if cell.variant == "lora-sb":
            estimate_gradient("tiny", MODEL, "sums", 8, cell.seed)
            factorize_gradient("tiny", MODEL, "sums", 8, cell.seed)
        train(cell)
    return study


def folder(study: Study, variant: str) -> Path:
    return next(cell.folder for cell in study.cells if cell.variant == variant)


@pytest.mark.slow
def test_plain_peft_gives_the_same_answers_without_lorasb(trained, project, tmp_path):
    torch.set_num_threads(1)
    score("tiny", MODEL, "sums", "test")
    task = trained.tasks["sums"]
    prompts = read_split(Path(f"results/tiny/shared/data/{MODEL}/sums/test.parquet"))["input_ids"]
    base_cell = folder(trained, "base")
    for variant in ("lora-sb", "lora"):
        cell = folder(trained, variant)
        export(str(cell), to=str(tmp_path / variant))
        base = project / "resources/quickstart/model"
        done = subprocess.run(
            [
                sys.executable,
                "-c",
                PLAIN,
                str(base),
                str(tmp_path / variant),
                str(task.max_new_tokens),
            ],
            input=json.dumps(list(prompts)),
            capture_output=True,
            text=True,
            check=False,
            cwd=tmp_path,
        )
        assert done.returncode == 0, done.stderr
        found = [json.loads(line) for line in done.stdout.splitlines()]
        # the adapter matters
        assert found != [row["prediction"] for row in read_jsonl(base_cell / "predictions.jsonl")]
        assert found == [row["prediction"] for row in read_jsonl(cell / "predictions.jsonl")]
        kind = json.loads((tmp_path / variant / "adapter_config.json").read_text())["peft_type"]
        assert kind == "LORA"

    card = (tmp_path / "lora-sb/README.md").read_text()
    for part in (
        "| method | LoRA-SB (`lora-sb`) |",
        "| rank, learning rate, seed | 4, 1e-2, 0 |",
        "| training | 4 steps of 8 rows |",
        "| accuracy_flexible | 12 |",
        "(2 seeds)",
        "`config/tasks/sums.yaml`: Sums. MIT.",
        "`config/tasks/arithmetic.yaml`: ",
        'AutoModelForCausalLM.from_pretrained("resources/quickstart/model"',
    ):
        assert part in card, part
    # the model's page of the hub reads what stands between the lines
    assert card.startswith("---\nlibrary_name: peft\n---\n")

    with pytest.raises(UserError, match="the base model itself; nothing was trained"):
        export(str(base_cell), to=str(tmp_path / "base"))
    with pytest.raises(UserError, match="there is something already"):
        export(str(folder(trained, "lora")), to=str(tmp_path / "lora"))
    for wrong in ("results/tiny", "nowhere"):
        with pytest.raises(UserError, match="no folder of a cell; those are results/"):
            export(wrong, to=str(tmp_path / "wrong"))
    (folder(trained, "lora") / "adapter/adapter_model.safetensors").write_bytes(b"")
    with pytest.raises(UserError, match="cut short"):
        export(str(folder(trained, "lora")), to=str(tmp_path / "cut"))
    assert not (tmp_path / "cut").exists()
