"""What `export_lora` writes, loaded by older releases of PEFT that have never heard of lorasb."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from lorasb.tuner.export import export_lora
from tests.unit.tiny import LLAMA_TARGETS, tiny_llama
from tests.unit.tuner.test_export import IDS, logits, trained

# the last six minor releases but the one that is installed
VERSIONS = ("0.20.0", "0.19.1", "0.18.1", "0.17.1", "0.16.0")
# those before 0.18 import names that transformers 5 no longer has
OF_THEIR_TIME = ("transformers==4.57.6", "tokenizers==0.22.2", "huggingface_hub==0.36.2")
ADAPTERS = {
    "plain": {},
    "patterns": {"rank_pattern": {"v_proj": 2}, "exclude_modules": ["0.self_attn.q_proj"]},
}
READER = """
import sys
import peft
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM
for name in sys.argv[2:]:
    base = AutoModelForCausalLM.from_pretrained("base").eval()
    model = peft.PeftModel.from_pretrained(base, name)
    with torch.no_grad():
        output = model(**load_file("ids.safetensors")).logits
    save_file({"logits": output}, f"{name}.safetensors")
assert peft.__version__ == sys.argv[1]
assert not any(name.partition(".")[0] == "lorasb" for name in sys.modules)
"""

pytestmark = pytest.mark.slow


def installed(version: str, folder: Path) -> Path:
    """A folder with that release, to stand before what is installed here."""
    older = OF_THEIR_TIME if version < "0.18" else ()
    pip = (sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", folder)
    done = subprocess.run(
        [*pip, f"peft=={version}", *older], capture_output=True, text=True, check=False
    )
    if done.returncode and "No matching distribution" in done.stderr:
        pytest.skip(f"peft {version} is not installed and cannot be downloaded")
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.parametrize("version", VERSIONS)
def test_an_older_peft_computes_the_same(version, tmp_path):
    site = installed(version, tmp_path / "site")
    tiny_llama(0).save_pretrained(tmp_path / "base")
    save_file({"input_ids": IDS}, tmp_path / "ids.safetensors")
    expected = {}
    for name, options in ADAPTERS.items():
        model = trained(tiny_llama(0), LLAMA_TARGETS, **options)
        export_lora(model, tmp_path / name)
        expected[name] = logits(model)
    done = subprocess.run(
        [sys.executable, "-c", READER, version, *ADAPTERS],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for name, values in expected.items():
        found = load_file(tmp_path / f"{name}.safetensors")["logits"]
        # the same sums of float32 products in another order
        torch.testing.assert_close(found, values, rtol=1e-4, atol=1e-5)
        assert not torch.allclose(found, logits(tiny_llama(0)), atol=0.1)
