"""What a file in `config/methods` may say of a method, and how it is refused."""

from __future__ import annotations

import re

import pytest

from lorasb.errors import UserError
from lorasb.methods import registry
from lorasb.methods.full import Full
from lorasb.methods.registry import make_method, make_variant

LORA = {"r": "rank", "lora_alpha": "rank"}


def peft(config: str = "LoraConfig", counts: str = "lora", **options: object) -> dict:
    return {"config": config, "options": LORA | options, "counts": counts}


@pytest.mark.parametrize(
    ("method", "arguments"),
    [
        ("full", {}),
        ("full", {"weights": "base"}),
        ("lora-xs", {}),
        ("lora-xs", {"scaling": -0.5}),
        ("lora-sb", {"dropout": 0.1, "exclude_modules": ["q_proj"], "layers_to_transform": [0]}),
        ("peft", peft(exclude_modules=["q_proj"])),
        ("lora-sb", {"scaling": 2, "start": "zero", "optimizer": "sgd"}),
        ("lora-sb-noise", {"signal": 0, "noise": 1.5}),
        ("lora-pro", {"form": "full", "options": LORA}),
        ("peft", peft()),
        ("peft", peft(lora_alpha=0.5, lora_dropout=0, use_rslora=True, bias="none")),
        ("peft", peft(init_lora_weights="pissa_niter_16")),
        ("peft", peft(alpha_pattern={"q_proj": 2})),
        ("peft", peft(lora_alpha="1.5 rank") | {"optimizer": {"name": "riemannian", "reg": 0.1}}),
        ("peft", {"config": "LoHaConfig", "options": {"r": "rank", "alpha": 8}, "counts": "lora"}),
        ("peft", {"config": "IA3Config", "options": {}, "counts": "built"}),
        ("peft", peft(velora_config={"num_groups": 8})),
    ],
)
def test_arguments_that_make_sense_are_taken(method, arguments):
    assert make_method(method, arguments)


@pytest.mark.parametrize(
    ("method", "arguments", "message"),
    [
        (
            "lora-bs",
            {},
            "unknown method 'lora-bs'; did you mean 'lora-xs'? known: base, ",
        ),
        # beside a method's own
        ("base", {"weights": "base"}, "arguments: top level: unknown key 'weights'; known: "),
        ("full", {"rank": 4}, "unknown key 'rank'; known: weights"),
        ("lora-xs", {"scalling": 2.0}, "unknown key 'scalling'; known: dropout"),
        ("lora-xs", {"start": "zero"}, "unknown key 'start'; known: dropout"),
        ("lora-sb", {"noise": 1.0}, "unknown key 'noise'; known: dropout"),
        ("peft", peft() | {"rankk": 4}, "unknown key 'rankk'; known: config, counts, optimizer, "),
        ("lora-pro", {"form": "full", "options": LORA, "counts": "lora"}, "unknown key 'counts'"),
        # none where it must be one
        ("peft", {"config": "LoraConfig", "counts": "lora"}, "'options' is a required property"),
        ("lora-pro", {"options": LORA}, "'form' is a required property"),
        ("lora-sb-noise", {"signal": 1.0}, "'noise' is a required property"),
        # of another value or type
        (
            "full",
            {"weights": "bfloat16"},
            "arguments: weights: 'bfloat16' is not one of",
        ),
        ("lora-sb", {"optimizer": "adam"}, "optimizer: 'adam' is not one of ['adamw', 'sgd']"),
        ("lora-sb", {"start": "stpe"}, "start: 'stpe' is not one of ['step', 'undivided'"),
        ("lora-pro", {"form": "fast", "options": LORA}, "form: 'fast' is not one of ['full'"),
        ("peft", peft(counts="lroa"), "counts: 'lroa' is not one of ['boft', 'dora', 'lora'"),
        ("lora-xs", {"scaling": "1e-3"}, "scaling: '1e-3' is not of type 'number'"),
        ("lora-xs", {"scaling": 0}, "scaling: 0 should not be valid under {'const': 0}; any but 0"),
        ("lora-sb", {"scaling": 0.0}, "scaling: 0.0 should not be"),
        ("lora-sb-noise", {"signal": 1.0, "noise": -0.1}, "noise: -0.1 is less than the minimum"),
        ("lora-sb-noise", {"signal": 0.0, "noise": 0}, "signal and noise are both 0"),
        ("lora-xs", {"dropout": 1}, "dropout: 1 is greater than or equal to the maximum of 1"),
        # of PEFT's classes
        ("peft", peft("LorraConfig"), "class of PEFT 'LorraConfig'; did you mean 'LoraConfig'?"),
        ("peft", peft("PeftModel"), "arguments.config: unknown class of PEFT 'PeftModel'"),
        ("peft", peft(use_dorra=True), "unknown argument 'use_dorra'; did you mean 'use_dora'?"),
        ("peft", peft(rangk=3), "arguments.options: unknown argument 'rangk'"),
        ("lora-pro", {"form": "full", "options": LORA | {"x": 1}}, "unknown argument 'x'; known:"),
        ("peft", peft(lora_alpha=0), "lora_alpha: 0 would let the adapter do nothing"),
        ("peft", peft(lora_alpha=-4), "lora_alpha: -4 would let the adapter do nothing"),
        (
            "lora-pro",
            {"form": "full", "options": LORA | {"lora_alpha": 0.0}},
            "0.0 would let",
        ),
        ("peft", peft(alpha_pattern={"q_proj": 0}), "alpha_pattern: {'q_proj': 0} would let"),
        ("peft", peft() | {"config": "LoHaConfig", "options": {"alpha": 0}}, "alpha: 0 would let"),
        ("peft", peft(lora_dropout=1.0), "lora_dropout: 1.0 should be at least 0 and below 1"),
        ("peft", peft(lora_dropout=-0.1), "lora_dropout: -0.1 should be at least 0"),
        ("peft", peft(inference_mode=True), "inference_mode: True is for a model's file to say"),
        ("peft", peft(target_modules=["q"]), "target_modules: ['q'] is for a model's file to say"),
        ("peft", peft(modules_to_save=["q"]), "modules_to_save: ['q'] is for a model's file"),
        ("peft", peft(r=8), "none but alpha is the word 'rank'"),
        (
            "peft",
            peft(r="rnak"),
            "r: 'rnak' should be a number, or the word rank",
        ),
        ("peft", peft(lora_alpha="16"), "lora_alpha: '16' should be a number"),
        ("peft", peft(use_rslora="yes"), "use_rslora: 'yes' should be true or false"),
        ("peft", peft(use_rslora=1), "use_rslora: 1 should be true or false"),
        ("peft", peft("KasaConfig"), "unknown class of PEFT 'KasaConfig'"),
        ("peft", peft(kasa_config={"betta": 1}), "options.kasa_config: unknown argument 'betta'"),
        ("peft", peft(velora_config={"num_groups": "8"}), "num_groups: '8' should be a number"),
        ("peft", peft() | {"optimizer": {"name": "lorapuls"}}, "did you mean 'loraplus'?"),
        (
            "peft",
            peft() | {"optimizer": {"reg": 1}},
            "optimizer.name: unknown optimiser of PEFT ''",
        ),
        ("peft", peft() | {"optimizer": {"name": "riemannian", "rge": 1}}, "argument 'rge'; did"),
        ("peft", peft() | {"optimizer": {"name": "riemannian", "reg": 0}}, "reg: 0 should be a"),
        ("peft", peft(lora_alpha="-2 rank"), "lora_alpha: '-2 rank' should be a number"),
        ("peft", peft(bias="some"), "bias: 'some' should be one of ['none', 'all', 'lora_only']"),
    ],
)
def test_arguments_that_make_no_sense_are_one_clear_line(method, arguments, message):
    with pytest.raises(UserError, match=re.escape(message)) as caught:
        make_method(method, arguments)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("config", "options", "has_rank"),
    [
        ("LoraConfig", LORA, True),
        ("OFTConfig", {"r": 0, "oft_block_size": "rank"}, True),
        ("FourierFTConfig", {"n_frequency": "rank"}, True),
        ("FourierFTConfig", {"n_frequency": 100}, False),
        ("IA3Config", {}, False),
    ],
)
def test_a_tuner_has_a_rank_where_an_option_takes_it(config, options, has_rank):
    method = make_method("peft", {"config": config, "options": options, "counts": "built"})
    assert method.has_rank == has_rank


@pytest.mark.parametrize(
    ("variant", "old", "new", "message"),
    [
        ("lora-sb", "method: lora-sb\n", "method: lora-bs\n", "unknown method"),
        ("lora-sb-zero", "{start: zero}", "{start: zeor}", "start: 'zeor' is not"),
        ("lora", "config: LoraConfig", "config: LorraConfig", "arguments.config: unknown"),
        ("dora", "use_dora: true", "use_dorra: true", "'use_dorra'; did you mean"),
        ("rslora", "lora_alpha: rank", "lora_alpha: 0", "lora_alpha: 0 would let"),
        ("pissa", "arguments:", "arguments:\n  rankk: 3", "unknown key 'rankk'"),
        ("lora-xs", "arguments:", "samples: 3\narguments:", "samples: the method"),
    ],
)
def test_the_file_and_the_variant_are_named(project, variant, old, new, message):
    file = variant.removesuffix("-zero")
    path = project / f"config/methods/{file}.yaml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(UserError, match=f"^config/methods/{file}.yaml: {variant}: .*{message}"):
        make_variant(variant)


class Point:
    """An entry point of an installed package."""

    def __init__(self, name: str, loaded: object) -> None:
        self.name, self.value, self.loaded = name, f"package:{name}", loaded

    def load(self) -> object:
        if isinstance(self.loaded, Exception):
            raise self.loaded
        return self.loaded


@pytest.mark.parametrize(
    ("name", "loaded", "message"),
    [
        ("lora-sb", Full, "method 'lora-sb': more than one has that name: package:lora-sb"),
        ("mine", dict, "package:mine: no subclass of lorasb.methods.method.Method"),
        ("mine", ImportError("no module\n'x'"), "package:mine: no module 'x'; it should name a"),
    ],
)
def test_an_entry_point_that_is_no_method_is_one_line(monkeypatch, name, loaded, message):
    monkeypatch.setattr(registry, "_points", lambda: [Point(name, loaded)])
    with pytest.raises(UserError, match=re.escape(message)) as caught:
        make_method(name, {})
    assert "\n" not in str(caught.value)


def test_a_method_of_a_package_is_made_and_known(monkeypatch):
    monkeypatch.setattr(registry, "_points", lambda: [Point("mine", Full)])
    assert isinstance(make_method("mine", {"weights": "base"}), Full)
    with pytest.raises(UserError, match="did you mean 'mine'"):
        make_method("mein", {})
