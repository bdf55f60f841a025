from pathlib import Path

from transformers import AutoTokenizer

from lorasb.bundled.byte_model import byte_model
from tests.conftest import ROOT

BUNDLED = ROOT / "resources/byte-llama"


def test_bundled_model_is_what_is_built(tmp_path: Path):
    byte_model(tmp_path)
    for name in ("model.safetensors", "tokenizer.json", "SHA256SUMS"):
        assert (tmp_path / name).read_bytes() == (BUNDLED / name).read_bytes(), name


def test_every_text_comes_back_one_token_a_byte():
    tokenizer = AutoTokenizer.from_pretrained(BUNDLED)
    text = "Ünï: 12 + ½\n\n### Response:\n   x\t\U0001f600 "
    ids = tokenizer(text)["input_ids"]
    assert len(ids) == len(text.encode())
    assert tokenizer.decode(ids) == text
