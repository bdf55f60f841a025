"""`import lorasb`: cheap, and PEFT knows the method whichever is imported first."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import peft
import pytest
import torch
from peft.mapping import PEFT_TYPE_TO_TUNER_MAPPING

import lorasb
from lorasb.tuner import LoraXSModel
from lorasb.tuner.config import _extend_peft_type
from tests.unit.start.test_fill import adapted
from tests.unit.tiny import tiny_llama

ROOT = Path(__file__).parents[2]


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


LOAD = """
import {first}, {second}
from peft import PeftModel
from transformers import AutoModelForCausalLM
base = AutoModelForCausalLM.from_pretrained('{folder}/base')
model = PeftModel.from_pretrained(base, '{folder}/adapter')
print(sum('lora_xs_R' in name for name, _ in model.named_parameters()))
"""


@pytest.mark.parametrize(("first", "second"), [("lorasb", "peft"), ("peft", "lorasb")])
def test_peft_loads_adapters_whichever_is_imported_first(first, second, tmp_path):
    tiny_llama(0).save_pretrained(tmp_path / "base")
    adapted(tiny_llama(0), init_weights="weights").save_pretrained(tmp_path / "adapter")
    assert run(LOAD.format(first=first, second=second, folder=tmp_path)).strip() == "6"


def test_who_asks_where_peft_is_does_not_keep_the_tuner_from_it():
    asks = "import importlib.util, sys, lorasb; assert importlib.util.find_spec('peft')"
    knows = "'LORA_XS' in peft.mapping.PEFT_TYPE_TO_TUNER_MAPPING"
    code = f"{asks}; assert 'peft' not in sys.modules; import peft; print({knows})"
    assert run(code).strip() == "True"


def test_importing_the_package_alone_imports_nothing_heavy():
    found = run("import sys, lorasb; print(*sys.modules)").split()
    assert "lorasb" in found
    assert not {"torch", "transformers", "peft", "numpy", "pandas"} & set(found)


def test_the_tuner_needs_only_the_packages_that_are_installed_with_it():
    public = run(
        "import sys, lorasb; [getattr(lorasb, name) for name in lorasb.__all__];"
        "import lorasb.integrations.trl, lorasb.training.schedule;"
        "print(*(m.__file__ for n, m in sys.modules.items() if n.startswith('lorasb')))"
    ).split()
    needed = {name for path in public for name in imported(Path(path))}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    core = {re.split("[>=]", one)[0] for one in project["dependencies"]}
    assert "torch" in needed
    faster = {"scipy", "threadpoolctl"}  # used where they are
    assert needed - set(sys.stdlib_module_names) - {"lorasb"} - faster <= core


def imported(path: Path) -> set[str]:
    """Names of the packages that a module imports anywhere but for its types."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = []
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.split(".")[0])
    return found


def test_peft_knows_the_method_once():
    before = list(peft.PeftType)
    _extend_peft_type()
    assert list(peft.PeftType) == before
    assert len(set(before)) == len(before)
    assert peft.PeftType("LORA_XS") is peft.PeftType.LORA_XS is peft.PeftType["LORA_XS"]
    assert PEFT_TYPE_TO_TUNER_MAPPING[peft.PeftType.LORA_XS] is LoraXSModel


@pytest.mark.parametrize("name", lorasb.__all__)
def test_public_names_are_there(name):
    assert getattr(lorasb, name).__module__.startswith("lorasb.")
    assert name in dir(lorasb)


def test_unknown_names_are_attribute_errors():
    with pytest.raises(AttributeError, match="no attribute 'lora'"):
        lorasb.lora  # noqa: B018


def test_the_four_calls_of_the_readme(tmp_path):
    base = tiny_llama(0)
    ids = torch.tensor([[3, 9, 2, 7, 30, 11], [5, 1, 8, 8, 2, 6]])
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": ids}
    targets = ["q_proj", "v_proj"]
    gradients = lorasb.estimate_gradients(base, [batch], target_modules=targets, num_samples=2)
    config = lorasb.LoraXSConfig(r=4, target_modules=targets, task_type="CAUSAL_LM")
    model = peft.get_peft_model(base, config)
    lorasb.initialize_lora_sb(model, gradients, learning_rate=1e-3)
    lorasb.export_lora(model, tmp_path / "adapter")
    loaded = peft.PeftModel.from_pretrained(tiny_llama(0), tmp_path / "adapter")
    # the same product in another order
    torch.testing.assert_close(
        loaded(input_ids=ids).logits, model(input_ids=ids).logits, rtol=1e-4, atol=1e-5
    )
