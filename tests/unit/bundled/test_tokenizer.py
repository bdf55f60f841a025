from __future__ import annotations

import pytest
from transformers import AutoTokenizer

from lorasb.bundled.families import FAMILIES, split_rows
from lorasb.bundled.tokenizer import EOS, PAD, UNKNOWN, build_tokenizer, words


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer()


def test_every_word_has_one_token(tokenizer) -> None:
    assert len(set(words())) == len(words()) == len(tokenizer)
    assert [tokenizer(word)["input_ids"] for word in words()[3:]] == [
        [index] for index in range(3, len(tokenizer))
    ]


def test_special_tokens(tokenizer) -> None:
    assert tokenizer.convert_ids_to_tokens([0, 1, 2]) == [PAD, EOS, UNKNOWN]
    # only spaces separate words
    assert tokenizer("cups.")["input_ids"] == [2]
    assert (tokenizer.pad_token_id, tokenizer.eos_token_id, tokenizer.unk_token_id) == (0, 1, 2)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("split", ["train", "selection", "test"])
def test_texts_of_the_families_come_back_unchanged(tokenizer, family, split) -> None:
    for row in split_rows(family, split, 100, 0):
        for text in (value for value in row.values() if isinstance(value, str)):
            ids = tokenizer(text)["input_ids"]
            assert len(ids) == len(text.split())
            assert tokenizer.unk_token_id not in ids
            assert tokenizer.decode(ids) == text


def test_saved_and_loaded(tokenizer, tmp_path) -> None:
    tokenizer.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    text = f"joy has 24 apples . {EOS}"
    assert loaded(text).data == tokenizer(text).data
    assert set(loaded(text)) == {"input_ids", "attention_mask"}
    assert loaded.pad_token == PAD
