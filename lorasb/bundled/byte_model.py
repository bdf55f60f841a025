"""A tiny Llama that reads any text byte by byte, to take real rows through every stage offline."""

from __future__ import annotations

from pathlib import Path

from tokenizers import Tokenizer, decoders
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from transformers import PreTrainedTokenizerFast

from lorasb.bundled.llama import new_llama
from lorasb.models.weights import write_sums
from lorasb.seeding import generator

PAD, EOS = "<pad>", "<eos>"


def build_tokenizer() -> PreTrainedTokenizerFast:
    """One token a byte of UTF-8, so that no character is unknown; nothing is added to a text."""
    tokens = [PAD, EOS, *sorted(ByteLevel.alphabet())]
    tokenizer = Tokenizer(BPE({token: index for index, token in enumerate(tokens)}, merges=[]))
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token=PAD, eos_token=EOS)


def byte_model(output: Path) -> None:
    """Write tokenizer and an untrained model of 0.1 M parameters; the same bytes each time."""
    tokenizer = build_tokenizer()
    random = generator(0, "byte-model")
    model = new_llama(len(tokenizer), random, width=64, layers=2, positions=2048)
    model.save_pretrained(output)
    tokenizer.save_pretrained(output)
    write_sums(output)
