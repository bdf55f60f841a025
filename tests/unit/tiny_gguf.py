"""A tiny Llama as a GGUF file, and a package that holds it."""

from __future__ import annotations

import zipfile
from pathlib import Path

import gguf
import numpy as np
import torch
from gguf.quants import quantize
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.convert_slow_tokenizer import bytes_to_unicode

# every byte has a token
TOKENS = ["<pad>", "<end>", *sorted(bytes_to_unicode().values()), "ab", "abc", "cd"]
MERGES = ["a b", "ab c", "c d"]
SPECIAL = 2  # the first tokens
HEADS, KEYS = 4, 2
TYPE = gguf.GGMLQuantizationType.Q4_1
NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
NORMS = {"input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm"}
WHEEL = "tiny_model-1.0-py3-none-any.whl"
INSIDE = "tiny_model/tiny.gguf"


def model() -> LlamaForCausalLM:
    """Two layers with grouped-query attention, tied embeddings; rows are multiples of 32 wide."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return LlamaForCausalLM(
            LlamaConfig(
                vocab_size=len(TOKENS),
                hidden_size=32,
                intermediate_size=64,
                num_hidden_layers=2,
                num_attention_heads=HEADS,
                num_key_value_heads=KEYS,
                max_position_embeddings=512,
                initializer_range=0.2,
                tie_word_embeddings=True,
            )
        ).eval()


def write_gguf(path: Path, architecture: str = "llama") -> None:
    """Write `model()`: matrices of the layers in 4 bits (Q4_1), all else in float32."""
    network = model()
    config, weights = network.config, network.state_dict()
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KEYS)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(len(TOKENS))
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(TOKENS)
    control, normal = gguf.TokenType.CONTROL, gguf.TokenType.NORMAL
    writer.add_token_types([control] * SPECIAL + [normal] * (len(TOKENS) - SPECIAL))
    writer.add_token_merges(MERGES)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(1)
    writer.add_unk_token_id(0)
    writer.add_tensor("token_embd.weight", weights["model.embed_tokens.weight"].numpy())
    writer.add_tensor("output_norm.weight", weights["model.norm.weight"].numpy())
    for layer in range(config.num_hidden_layers):
        for name, short in NORMS.items():
            key = f"model.layers.{layer}.{name}.weight"
            writer.add_tensor(f"blk.{layer}.{short}.weight", weights[key].numpy())
        for name, short in NAMES.items():
            stored = _quantised(short, weights[f"model.layers.{layer}.{name}.weight"])
            writer.add_tensor(f"blk.{layer}.{short}.weight", stored, raw_dtype=TYPE)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def dequantised(name: str, weight: Tensor) -> Tensor:
    """A layer's matrix after 4 bits, as transformers has it."""
    short = NAMES[name]
    found = torch.from_numpy(gguf.quants.dequantize(_quantised(short, weight), TYPE))
    heads = {"attn_q": HEADS, "attn_k": KEYS}.get(short)
    # back from llama.cpp's order of the rotary halves
    return _swapped(found, heads, first=-1) if heads else found


def write_package(folder: Path, file: Path) -> Path:
    """A wheel with the file in it."""
    wheel = folder / WHEEL
    facts = {
        INSIDE: file.read_bytes(),
        "tiny_model-1.0.dist-info/METADATA": b"Name: tiny-model\nVersion: 1.0\n",
        "tiny_model-1.0.dist-info/WHEEL": b"Wheel-Version: 1.0\nTag: py3-none-any\n",
        "tiny_model-1.0.dist-info/RECORD": b"",
    }
    with zipfile.ZipFile(wheel, "w") as opened:
        for name, content in facts.items():
            opened.writestr(name, content)
    return wheel


def _quantised(short: str, weight: Tensor) -> np.ndarray:
    heads = {"attn_q": HEADS, "attn_k": KEYS}.get(short)
    return quantize((_swapped(weight, heads, first=2) if heads else weight).numpy(), TYPE)


def _swapped(weight: Tensor, heads: int, first: int) -> Tensor:
    """Rows of each head in the other order of the two rotary halves."""
    rows, columns = weight.shape
    half = rows // heads // 2
    shape = (heads, 2, half, columns) if first == 2 else (heads, half, 2, columns)
    return weight.reshape(shape).transpose(1, 2).reshape(rows, columns).contiguous()
