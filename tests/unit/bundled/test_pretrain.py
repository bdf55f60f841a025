from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from lorasb.bundled import pretrain
from lorasb.bundled.tokenizer import build_tokenizer
from lorasb.seeding import generator

BUNDLED = Path(__file__).parents[3] / "resources/quickstart/model"


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_bundled_model_knows_the_world(monkeypatch) -> None:
    tokenizer = AutoTokenizer.from_pretrained(BUNDLED)
    assert tokenizer.get_vocab() == build_tokenizer().get_vocab()
    model = AutoModelForCausalLM.from_pretrained(BUNDLED)
    record = json.loads((BUNDLED / "pretraining.json").read_text(encoding="utf-8"))
    assert record["parameters"] == model.num_parameters()
    monkeypatch.setattr(pretrain, "PROBE_DOCUMENTS", 60)
    shares = pretrain.probe(model, tokenizer, np.random.default_rng(0))
    # 60 documents: four standard deviations of a share near 0.8 are 0.21
    assert shares == pytest.approx(record["probes"], abs=0.21)
    assert min(shares["fact_questions"], shares["fact_choices"]) > 0.95


def test_rows_start_with_documents() -> None:
    tokenizer = build_tokenizer()
    drawn = pretrain.batches(tokenizer, np.random.default_rng(0))
    starts = set()
    for _ in range(3):
        rows = next(drawn)
        assert rows.shape == (pretrain.ROWS, pretrain.ROW_TOKENS)
        starts |= {tokenizer.decode([row[0]]) for row in rows}
        texts = [tokenizer.decode(row) for row in rows]
        assert all(". <eos>" in text for text in texts)
    # stories start with a person, lists with option1, facts with "a"; none with a verb or stop
    assert {"option1", "question", "a", "the"} <= starts
    assert not {".", "<eos>", "has", "is", "answer"} & starts


def test_learning_rate_schedule() -> None:
    peak = pretrain.LEARNING_RATE
    rates = [pretrain.learning_rate(step, 12_000) for step in range(12_000)]
    assert rates[0] == pytest.approx(peak / pretrain.WARMUP_STEPS)
    assert set(rates[pretrain.WARMUP_STEPS : 6000]) == {peak}
    assert rates[9000] == pytest.approx(peak * (1 + pretrain.FINAL_FRACTION) / 2)
    # one step before the end the cosine is within 1e-7 of its minimum
    assert rates[-1] == pytest.approx(peak * pretrain.FINAL_FRACTION, rel=1e-4)


def test_initial_weights_depend_on_the_generator_alone() -> None:
    size = len(build_tokenizer())
    weights = [pretrain.build_model(size, generator(seed, "w")).state_dict() for seed in (0, 0, 1)]
    name = "model.layers.0.mlp.up_proj.weight"
    assert torch.equal(weights[0][name], weights[1][name])
    assert not torch.equal(weights[0][name], weights[2][name])
    # 32,768 draws: the standard error of the deviation is 0.4 %, five of them are 2 %
    assert weights[0][name].std() == pytest.approx(0.02, rel=0.02)


def test_pretrain_saves_a_loadable_model_and_repeats(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(pretrain, "PROBE_DOCUMENTS", 3)
    monkeypatch.setattr(pretrain, "WARMUP_STEPS", 1)
    for name in ("a", "b"):
        pretrain.pretrain(tmp_path / name, seed=1, steps=6, threads=1)
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("a", "b")]
    assert weights[0] == weights[1]
    assert len(weights[0]) <= 4e6
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "a")
    assert model.dtype == torch.float32
    record = json.loads((tmp_path / "a" / "pretraining.json").read_text())
    assert record["parameters"] == model.num_parameters()
    # ln(236) = 5.46 is the loss of a model that knows nothing
    assert record["final_loss"] < 5.3
    assert set(record["probes"]) == set(pretrain.KINDS)
    assert all(0 <= share <= 1 for share in record["probes"].values())
