"""Closed-form counts against known numbers, real PEFT models and models of this package."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM

from analysis.tables.paper import same_count
from lorasb.config import read as config
from lorasb.errors import UserError
from lorasb.methods import counts
from lorasb.methods.registry import make_variant
from lorasb.models.layers import head_parameters, target_shapes
from lorasb.models.load import skeleton
from lorasb.models.spec import ModelSpec

# Numbers of public architectures: exact, and equal to the known sizes of the models.
REFERENCE = Path(__file__).resolve().parents[2] / "reference" / "params.csv"
ROWS = list(csv.DictReader(REFERENCE.open(encoding="utf-8")))
# `paper_printed` is as public reproductions quote it
PAPER_PATH = Path(__file__).resolve().parents[3] / "analysis" / "paper.csv"
PAPER = list(
    {
        (row["model"], row["variant"], row["rank"]): row
        for row in csv.DictReader(PAPER_PATH.open(encoding="utf-8"))
    }.values()
)
# the variants whose trained numbers a row of the reference gives
VARIANTS = {
    "LoRA": [
        "lora",
        "rslora",
        "pissa",
        "olora",
        "hira",
        "gralora",
        "flat-lora",
        "lora-ga",
        "lora-one",
        "lora-plus",
        "lora-riemannian",
        "lora-pro",
        "lora-pro-efficient",
        "eva",
        "corda",
        "corda-kpm",
        "lora-ga-peft",
        "gelora",
        "xgblora",
        "xgblora-third",
        "runlora",
    ],
    "DoRA": ["dora"],
    # the ablations too: what they start from changes no count
    "LoRA-XS/LoRA-SB": [
        *(n for n in config.variants() if n.startswith(("lora-sb", "lora-xs"))),
    ],
}
# counted in the tuner, or a closed form that no model of the reference has
OWN_COUNTS = {"boft", "built", "lora-fa", "mica", "shira"}
LLAMA = LlamaConfig(
    vocab_size=11,
    hidden_size=8,
    intermediate_size=12,
    num_hidden_layers=2,
    num_attention_heads=2,
    num_key_value_heads=1,
)
TARGETS = ["q_proj", "v_proj", "down_proj"]


def spec_of(slug: str) -> ModelSpec:
    return ModelSpec.from_config(config.load_model_config(slug))


@cache
def model_of(slug: str) -> torch.nn.Module:
    spec = spec_of(slug)
    return skeleton(spec, kind=spec.kinds[0], num_labels=2)


@cache
def shapes_of(slug: str, targets: tuple[str, ...]) -> Mapping[str, tuple[int, int]]:
    spec = spec_of(slug)
    return target_shapes(model_of(slug), targets, exclude=spec.head_modules(spec.kinds[0]))


def row_id(row: dict[str, str]) -> str:
    return "-".join(row[key] for key in ("model", "target_set", "method", "rank"))


def test_reference_has_all_models_and_target_sets() -> None:
    assert len(ROWS) == 123
    assert len({row["model"] for row in ROWS}) == 8
    assert len({row["target_set"] for row in ROWS if row["model"] == "roberta-large"}) == 5


@pytest.mark.parametrize("row", [r for r in ROWS if r["method"] == "Full FT"], ids=row_id)
def test_full_trains_the_whole_model(row: dict[str, str]) -> None:
    model = model_of(row["model"])
    count = counts.full({}, model.num_parameters()).with_task_head(5)
    assert count.trainable == count.trainable_with_task_head == int(row["trainable_params"])
    linears = [m for m in model.modules() if isinstance(m, torch.nn.Linear)]
    assert len(linears) == int(row["adapted_matrices"])


@pytest.mark.parametrize("row", [r for r in ROWS if r["method"] != "Full FT"], ids=row_id)
def test_adapter_counts_are_exact(row: dict[str, str]) -> None:
    model = model_of(row["model"])
    assert model.num_parameters() == int(row["base_params"])
    shapes = shapes_of(row["model"], tuple(row["target_modules"].split()))
    assert len(shapes) == int(row["adapted_matrices"])
    for variant in VARIANTS[row["method"]]:
        count = make_variant(variant).method.count(shapes, int(row["rank"]), 0)
        assert count.trainable == int(row["trainable_params"])
        if row["trainable_with_task_head"]:
            head = head_parameters(model, ["classifier"]).values()
            with_head = count.with_task_head(sum(value.numel() for value in head))
            assert with_head.trainable_with_task_head == int(row["trainable_with_task_head"])


@pytest.mark.parametrize("row", [r for r in ROWS if r["paper_printed"]], ids=row_id)
def test_counts_are_those_that_the_paper_prints(row: dict[str, str]) -> None:
    shapes = shapes_of(row["model"], tuple(row["target_modules"].split()))
    for variant in VARIANTS[row["method"]]:
        count = make_variant(variant).method.count(shapes, int(row["rank"]), 0)
        assert same_count(count.trainable, row["paper_printed"])


@pytest.mark.parametrize("row", PAPER, ids=lambda row: f"{row['model']}-{row['variant']}")
def test_models_adapt_the_layers_that_fit_what_the_paper_prints(row: dict[str, str]) -> None:
    shapes = shapes_of(row["model"], tuple(spec_of(row["model"]).target_modules))
    count = make_variant(row["variant"]).method.count(shapes, int(row["rank"]), 0)
    assert same_count(count.trainable, row["printed_parameters"])


def test_other_layers_do_not_fit_what_the_paper_prints() -> None:
    # the reading that adapts self-attention alone
    shapes = shapes_of("roberta-large", ("query", "key", "value", "attention.output.dense"))
    assert not same_count(counts.lora(shapes, 8).trainable, "2162K")


def test_every_trained_variant_is_compared_with_the_reference() -> None:
    compared = {variant for variants in VARIANTS.values() for variant in variants}
    # the whole model, norms alone, or a number a rank more than LoRA: the contract
    compared |= {"full", "full-kahan", "flora", "ln-tuning", "sora", "sora-schedule"}
    trained = {
        name: made for name in config.variants() if (made := make_variant(name).method).trains
    }
    # the contract compares the others with what they train and save
    others = {n for n, made in trained.items() if made.arguments.get("counts") in OWN_COUNTS}
    assert compared == trained.keys() - others


def test_both_r_by_r_methods_train_alike_and_store_differently() -> None:
    shapes = {"a": (6, 4), "b": (5, 7)}
    # 3 (6 + 4) + 3 (5 + 7) numbers of B and A, which follow from the weights or are kept
    assert counts.lora_xs(shapes, 3) == counts.Counts(trainable=18, stored=18, shared=66)
    assert counts.lora_sb(shapes, 3) == counts.Counts(trainable=18, stored=18 + 66)


def test_norms_of_mistral() -> None:
    shapes = shapes_of("mistral-7b", ("q_proj",))
    # two in each of 32 blocks and one at the end
    assert counts.norms(shapes) == counts.Counts(trainable=65 * 4096, stored=65 * 4096)
    assert counts.norms({"alone": (4, 4)}).trainable == 0


def test_pissa_keeps_its_start_beside_what_it_trains() -> None:
    # 3 (6 + 4) + 3 (5 + 7) numbers of A and B, twice
    assert counts.pissa({"a": (6, 4), "b": (5, 7)}, 3) == counts.Counts(trainable=66, stored=132)


def test_lora_pro_holds_two_moments_of_the_weights_and_of_the_head() -> None:
    count = counts.lora_pro({"a": (6, 4), "b": (5, 7)}, 3).with_task_head(10)
    assert (count.trainable, count.stored) == (66, 66)
    assert count.optimizer_state == 2 * (24 + 35) + 2 * 10


def test_optimizer_holds_two_moments_of_adapter_and_head() -> None:
    count = counts.lora({"a": (6, 4)}, 2).with_task_head(10)
    assert (count.trainable, count.task_head, count.optimizer_state) == (20, 10, 60)


@pytest.mark.parametrize("use_dora", [False, True])
def test_counts_equal_those_of_a_peft_model(use_dora: bool) -> None:
    model = LlamaForCausalLM(LLAMA)
    shapes = target_shapes(model, TARGETS)
    adapted = get_peft_model(model, LoraConfig(r=3, target_modules=TARGETS, use_dora=use_dora))
    trained, total = adapted.get_nb_trainable_parameters()
    expected = (counts.dora if use_dora else counts.lora)(shapes, 3)
    assert trained == expected.trainable
    assert total - trained == LlamaForCausalLM(LLAMA).num_parameters()


def test_lora_on_mistral_equals_peft_on_the_meta_device() -> None:
    spec = spec_of("mistral-7b")
    model = skeleton(spec, kind="generation", num_labels=1)
    options = LoraConfig(r=32, target_modules=list(spec.target_modules))
    adapted = get_peft_model(model, options, low_cpu_mem_usage=True)
    shapes = shapes_of("mistral-7b", tuple(spec.target_modules))
    assert adapted.get_nb_trainable_parameters()[0] == counts.lora(shapes, 32).trainable
    assert {p.device.type for p in adapted.parameters()} == {"meta"}


# the blocks of BOFT need not be fewer than the outputs
@pytest.mark.parametrize("name", sorted(counts.FAMILIES.keys() - {"boft"}))
@pytest.mark.parametrize(("rank", "part"), [(5, "'narrow' (9 x 4)"), (0, "at least 1")])
def test_rank_that_does_not_fit_is_refused(name: str, rank: int, part: str) -> None:
    with pytest.raises(UserError) as caught:
        counts.family(name)({"wide": (8, 8), "narrow": (9, 4)}, rank)
    assert part in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_largest_rank_that_fits_is_allowed() -> None:
    assert counts.lora_xs({"narrow": (9, 4)}, 4).trainable == 16


def test_unknown_family_is_refused() -> None:
    with pytest.raises(UserError, match=r"unknown count 'lora_sb'; known: .*lora-sb"):
        counts.family("lora_sb")


def test_report_adds_up_and_is_json() -> None:
    spec = spec_of("roberta-large")
    report = counts.count_report(spec, lambda shapes, rank, _: counts.lora_sb(shapes, rank), 24)
    assert json.loads(json.dumps(report)) == report
    assert report["task_head"] == 1_051_650
    assert report["trainable_with_task_head"] == 1_106_946
    assert report["served"] == 0
    assert len(report["per_module"]) == report["adapted_weights"] == 96
    for key in ("trainable", "stored"):
        assert sum(module[key] for module in report["per_module"].values()) == report[key]
    query = report["per_module"]["roberta.encoder.layer.0.attention.self.query"]
    assert query == {"shape": [1024, 1024], "trainable": 576, "stored": 576 + 24 * 2048}


def test_report_of_full_counts_the_head_once() -> None:
    spec = spec_of("roberta-large")
    report = counts.count_report(spec, lambda shapes, _, base: counts.full(shapes, base), 0)
    assert report["trainable"] == report["trainable_with_task_head"] == report["base"]
    assert report["stored"] == report["base"]
    assert report["task_head"] == 0
    query = report["per_module"]["roberta.encoder.layer.0.attention.self.query"]
    assert query["trainable"] == 1024 * 1024


def test_report_leaves_the_head_without_an_adapter() -> None:
    spec = replace(spec_of("roberta-large"), target_modules=["dense"])
    report = counts.count_report(spec, lambda shapes, rank, _: counts.lora(shapes, rank), 2)
    # three `dense` layers in each of 24 blocks, and not the one of the classifier
    assert report["adapted_weights"] == 72


def test_report_follows_the_kind_of_task() -> None:
    spec = replace(spec_of("llama-3.2-3b"), target_modules=["q_proj"])
    report = counts.count_report(
        spec,
        lambda shapes, rank, _: counts.lora(shapes, rank),
        2,
        kind="classification",
        num_labels=4,
    )
    assert report["task_head"] == 4 * 3072  # one weight matrix without bias
    assert set(report["per_module"]) == {f"model.layers.{i}.self_attn.q_proj" for i in range(28)}
