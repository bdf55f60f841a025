"""Tiny models with random weights from a passed seed, large enough that every part matters."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    RobertaConfig,
    RobertaForSequenceClassification,
)

VOCABULARY = 40
LLAMA_TARGETS = ["q_proj", "v_proj", "down_proj"]
BERT_TARGETS = ["query", "attention.output.dense", "output.dense"]
GPT2_TARGETS = ["c_attn", "c_fc"]
# two layers of an encoder
ENCODER = {
    "vocab_size": VOCABULARY,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 32,
    "initializer_range": 0.2,
}


def tiny_llama(seed: int) -> PreTrainedModel:
    """Two layers, grouped-query attention: q is 16 x 16, v 8 x 16, down 16 x 24."""
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=32,
        initializer_range=0.2,  # logits of size 1
        tie_word_embeddings=True,
        pad_token_id=0,
        bos_token_id=None,
        eos_token_id=None,
    )
    return _build(LlamaForCausalLM, config, seed)


def tiny_bert(seed: int, num_labels: int = 2, dropout: float = 0.1) -> PreTrainedModel:
    """Two layers and a head."""
    config = BertConfig(
        **ENCODER,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
        num_labels=num_labels,
    )
    return _build(BertForSequenceClassification, config, seed)


def tiny_roberta(seed: int) -> PreTrainedModel:
    """Two layers, and a head of two layers that are called dense and out_proj; no dropout."""
    config = RobertaConfig(**ENCODER, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    return _build(RobertaForSequenceClassification, config, seed)


def tiny_gpt2(seed: int) -> PreTrainedModel:
    """One layer of `Conv1D`, whose weights are (in, out); no dropout."""
    config = GPT2Config(
        vocab_size=VOCABULARY,
        n_embd=16,
        n_layer=1,
        n_head=2,
        n_positions=32,
        initializer_range=0.2,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        bos_token_id=None,
        eos_token_id=None,
    )
    return _build(GPT2LMHeadModel, config, seed)


def sequences(seed: int, lengths: Iterable[int]) -> list[Tensor]:
    """Random token ids without the padding id 0."""
    random = torch.Generator().manual_seed(seed)
    return [torch.randint(1, VOCABULARY, (length,), generator=random) for length in lengths]


def train(model: nn.Module, batch: dict[str, Tensor], steps: int = 3) -> None:
    """A few AdamW steps on whatever is trainable: no adapter stays at its start."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=0.05)
    for _ in range(steps):
        model(**batch).loss.backward()
        optimizer.step()
        optimizer.zero_grad()


def _build(kind: type[PreTrainedModel], config: object, seed: int) -> PreTrainedModel:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return kind(config).eval()
