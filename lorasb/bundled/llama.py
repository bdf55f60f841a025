"""Small Llamas with random weights."""

from __future__ import annotations

import torch
from transformers import LlamaConfig, LlamaForCausalLM


def new_llama(
    vocabulary_size: int, rng: torch.Generator, *, width: int, layers: int, positions: int
) -> LlamaForCausalLM:
    """A Llama of four heads in float32, its matrices drawn from N(0, 0.02^2).

    Token 0 pads and token 1 ends a text.
    """
    config = LlamaConfig(
        vocab_size=vocabulary_size,
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=layers,
        num_attention_heads=4,
        max_position_embeddings=positions,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=1,
        pad_token_id=0,
    )
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim == 2:
                weight.normal_(0.0, config.initializer_range, generator=rng)
    return model
