"""What `export_lora` writes, through llama.cpp's own conversion.

LLAMA_CPP names a folder with llama.cpp's sources (the sdist of llama-cpp-python has them).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from gguf import GGUFReader

from lorasb.tuner.export import export_lora
from tests.unit.tiny import LLAMA_TARGETS, tiny_llama
from tests.unit.tuner.test_export import trained

# names of a Llama's layers there
NAMES = {"q_proj": "attn_q", "v_proj": "attn_v", "down_proj": "ffn_down"}


@pytest.mark.skipif("LLAMA_CPP" not in os.environ, reason="needs LLAMA_CPP, llama.cpp's sources")
def test_every_update_is_there(tmp_path):
    script = Path(os.environ["LLAMA_CPP"]) / "convert_lora_to_gguf.py"
    tiny_llama(0).save_pretrained(tmp_path / "base")
    model = trained(tiny_llama(0), LLAMA_TARGETS, rank_pattern={"v_proj": 2})
    export_lora(model, tmp_path / "lora")
    command = [sys.executable, script, tmp_path / "lora", "--base", tmp_path / "base"]
    done = subprocess.run(
        [*command, "--outfile", tmp_path / "lora.gguf"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    reader = GGUFReader(tmp_path / "lora.gguf")
    alpha = reader.get_field("adapter.lora.alpha").contents()
    tensors = {tensor.name: tensor.data for tensor in reader.tensors}
    layers = list(model.get_base_model().model.layers)
    assert len(tensors) == 2 * len(NAMES) * len(layers)
    heads = json.loads((tmp_path / "base/config.json").read_text())["num_attention_heads"]
    for index, layer in enumerate(layers):
        for name, theirs in NAMES.items():
            module = (layer.mlp if name == "down_proj" else layer.self_attn).get_submodule(name)
            update = module.get_delta_weight("default").detach().numpy()
            A, B = (tensors[f"blk.{index}.{theirs}.weight.lora_{part}"] for part in "ab")
            # what llama.cpp adds: alpha / rank, with the rank of the tensor
            found = alpha / B.shape[1] * (B @ A)
            if name == "q_proj":  # rotary halves are interleaved there
                update = update.reshape(heads, 2, -1, update.shape[1]).swapaxes(1, 2)
                update = update.reshape(found.shape)
            # float32 in another order
            np.testing.assert_allclose(found, update, rtol=1e-4, atol=1e-6)
