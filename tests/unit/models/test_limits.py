"""What is read off a configuration is what the model bears."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    BartConfig,
    BertConfig,
    BloomConfig,
    DebertaV2Config,
    DistilBertConfig,
    GPT2Config,
    GPTJConfig,
    GPTNeoXConfig,
    LlamaConfig,
    MPNetConfig,
    OPTConfig,
    PreTrainedConfig,
    RobertaConfig,
    T5Config,
)

from lorasb.models.limits import Limits, limits
from lorasb.models.spec import Kind
from tests.unit.models.test_load import spec_for

WORDS = 40
BERT: dict[str, Any] = {
    "vocab_size": WORDS,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
}
GPT: dict[str, Any] = {"vocab_size": WORDS, "n_embd": 16, "n_layer": 1, "n_head": 2}
RELATIVE = {"relative_attention": True, "position_biased_input": False, "pos_att_type": ["p2c"]}
OPT: dict[str, Any] = BERT | {"word_embed_proj_dim": 16, "ffn_dim": 24}
DISTIL = {"vocab_size": WORDS, "dim": 16, "n_layers": 1, "n_heads": 2}
BART = {"vocab_size": WORDS, "pad_token_id": 1, "eos_token_id": 2, "d_model": 16}
BART |= {"encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 24}
BART |= {"decoder_ffn_dim": 24, "encoder_attention_heads": 2, "decoder_attention_heads": 2}
T5 = {"vocab_size": WORDS, "d_model": 16, "d_kv": 8, "d_ff": 24, "num_layers": 1, "num_heads": 2}


def found(config: PreTrainedConfig, kind: Kind, folder: Path) -> Limits:
    config.save_pretrained(folder)
    spec = spec_for(folder, kinds=["generation", "classification", "regression"])
    return limits(spec, kind=kind, num_labels=3)


def runs(config: PreTrainedConfig, kind: Kind, tokens: int) -> bool:
    """Whether the model itself takes so many tokens."""
    auto = AutoModelForCausalLM if kind == "generation" else AutoModelForSequenceClassification
    ids = torch.full((1, tokens), 5)
    ids[0, -1] = 2  # the end of a text, which BART and T5 classify at
    try:
        with torch.no_grad():
            auto.from_config(config)(input_ids=ids, attention_mask=torch.ones_like(ids))
    except (IndexError, RuntimeError):
        return False
    return True


@pytest.mark.parametrize(
    ("config", "kind"),
    [
        (BertConfig(**BERT, max_position_embeddings=32), "classification"),
        (DistilBertConfig(**DISTIL, max_position_embeddings=32), "regression"),
        # positions are counted from the padding token's on
        (RobertaConfig(**BERT, max_position_embeddings=34, pad_token_id=1), "classification"),
        (MPNetConfig(**BERT, max_position_embeddings=34, pad_token_id=1), "classification"),
        (GPT2Config(**GPT, n_positions=32), "generation"),
        # the table has two rows more
        (OPTConfig(**OPT, max_position_embeddings=32), "generation"),
        (BartConfig(**BART, max_position_embeddings=32), "classification"),
        # no table of weights, but of sines
        (GPTJConfig(**GPT, n_positions=32, rotary_dim=4), "generation"),
    ],
    ids=lambda value: getattr(value, "model_type", value),
)
def test_the_last_position_is_the_models(config, kind, tmp_path):
    positions = found(config, kind, tmp_path).positions
    assert positions == 32
    assert runs(config, kind, positions)
    assert not runs(config, kind, positions + 1)


@pytest.mark.parametrize(
    ("config", "kind"),
    [
        (T5Config(**T5, eos_token_id=2, decoder_start_token_id=0), "classification"),
        (DebertaV2Config(**BERT, **RELATIVE, max_position_embeddings=32), "classification"),
        (BloomConfig(vocab_size=WORDS, hidden_size=16, n_layer=1, n_head=2), "generation"),
    ],
    ids=lambda value: getattr(value, "model_type", value),
)
def test_distances_have_no_last_position(config, kind, tmp_path):
    assert found(config, kind, tmp_path).positions is None
    assert runs(config, kind, 700)


@pytest.mark.parametrize(
    "config",
    [
        LlamaConfig(**BERT, max_position_embeddings=32),
        GPTNeoXConfig(**BERT, max_position_embeddings=32),
    ],
    ids=lambda config: config.model_type,
)
def test_rotations_end_where_they_were_trained(config, tmp_path):
    assert found(config, "generation", tmp_path).positions == 32


def test_tokens_marks_of_pairs_and_special_tokens(tmp_path):
    ids = {"bos_token_id": 3, "eos_token_id": [4, 7], "pad_token_id": WORDS}
    config = RobertaConfig(**BERT, **ids | {"pad_token_id": 1}, type_vocab_size=1)
    assert found(config, "classification", tmp_path) == Limits(
        510, WORDS, 1, frozenset({1, 3, 4, 7})
    )
    llama = LlamaConfig(**BERT, **ids | {"pad_token_id": -1})
    assert found(llama, "generation", tmp_path) == Limits(2048, WORDS, None, frozenset({3, 4, 7}))
    # a default that is no token of a small model
    small = found(GPT2Config(**GPT), "generation", tmp_path)
    assert small == Limits(1024, WORDS, None, frozenset())
