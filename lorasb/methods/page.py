"""docs/methods.md, from the registry and the files of `config/methods`.

`python -m lorasb.methods.page > docs/methods.md` writes it anew.
"""

from __future__ import annotations

import sys
from textwrap import fill

from lorasb.config import read as config
from lorasb.methods.registry import Variant, make_variant, make_variants
from lorasb.models.shapes import LayerShapes

# a weight of BERT's size and a norm, at whose rank a method with one is counted
SHAPES = LayerShapes({"layer": (768, 768)})
SHAPES.norms = 768
RANK = 64

HEAD = """\
# Methods

<!-- Made by `python -m lorasb.methods.page > docs/methods.md`; a test fails when it is stale. -->

Every method of `config/methods/`: what the workflow makes for it first, and the numbers of one
weight of 768 x 768 that it trains, stores and has as its optimiser's state, at rank 64, which
stands for whatever the method's knob is. LN tuning's are those of one norm of that width. Counts
without a closed form are those of the tuner itself. Shared numbers, such as a bank of vectors, are
counted once for a whole model. [config/README.md](../config/README.md#a-method) has the keys of a
file, [method.md](method.md) the mathematics of LoRA-XS, LoRA-SB and their relatives,
[plugins.md](plugins.md) how a method of your own joins.

"""
NONE = "-"
# class or option of PEFT -> why it is not here
ABSENT = {
    "Prompt and prefix tuning, P-tuning, CPT, Cartridge, adaption prompts": (
        "they change inputs or add attention; no adapted weight changes that could be counted"
    ),
    "BEFT": "it trains biases, which not all models have, and PEFT cannot merge it without one",
    "Lily, Shadow": "PEFT cannot merge them, so that they have no change of a weight",
    "MonteCLoRA": "PEFT cannot copy a trained layer, which is how its change is measured here",
    "X-LoRA, Poly, Arrow": "they mix adapters that were trained before",
    "LoftQ, QALoRA": "they start from quantised weights, which are refused here",
    "AdaMSS, FRoD": "they decompose weights as they are built, so that none can be counted before",
    "SuperTuning": "its knob is a share of a weight's entries, which no rank can state",
    "DEFT, GLoRA, OSF, PEANuT": (
        "they run from a YAML of your own, with `counts: built`; nobody has compared them"
    ),
    "aLoRA": "it acts after tokens of an invocation alone, which tasks here do not have",
}


def page() -> str:
    """The whole page, in Markdown."""
    found = [make_variant(name) for name in config.names("methods")]
    rows = "".join(f"| {' | '.join(_row(variant))} |\n" for variant in found)
    head = "| variant | label | source | first | trained | stored | state |\n"
    head += "|---|---|---|---|---:|---:|---:|\n"
    parts = "\n".join(_part(variant) for variant in found)
    absent = "".join(f"{_filled(f'- {name}: {why}.')}\n" for name, why in ABSENT.items())
    return f"{HEAD}{head}{rows}\n{parts}\n## What PEFT has and is not here\n\n{absent}"


def _row(variant: Variant) -> list[str]:
    counts = variant.method.count(SHAPES, RANK if variant.method.has_rank else 0, 768 * 768)
    needs = ", ".join(sorted(need.replace("_", " ") for need in variant.method.needs))
    numbers = (counts.trainable, counts.stored, counts.optimizer_state)
    paper = config.load_variant(variant.name).get("paper", NONE)
    names = [f"`{variant.name}`", variant.label, paper, needs or NONE]
    return [*names, *(f"{number:,}" for number in numbers)]


def _part(variant: Variant) -> str:
    """What a method is and costs, where it deviates, its rates, and variants in its file."""
    data = config.load_variant(variant.name)
    lines = [f"## {variant.label}", "", config.opening_comment(config.variant_file(variant.name))]
    for key in ("costs", "deviates"):
        if key in data:
            lines += ["", _filled(f"{key.capitalize()}: {data[key]}.")]
    if variant.rates:
        lines += ["", f"Rates of a sweep: {', '.join(variant.rates)}."]
    inside = [one for one in config.load_families([variant.name]) if one != variant.name]
    own = [one for one in inside if config.variant_file(one) == config.variant_file(variant.name)]
    labels = [f"`{name}` ({one.label})" for name, one in make_variants(own).items()]
    if labels:
        lines += ["", _filled(f"Variants: {', '.join(labels)}.")]
    return "\n".join([*lines, ""])


def _filled(text: str) -> str:
    return fill(text, 110, subsequent_indent="  " * text.startswith("-"), break_on_hyphens=False)


if __name__ == "__main__":
    sys.stdout.write(page())
