"""The names that go with the tables."""

from __future__ import annotations

import pytest

from lorasb.config.read import load_variant, variants
from lorasb.study.hashes import names_hash
from lorasb.study.names import name_rows
from lorasb.study.study import Study
from tests.unit.study.test_study import STUDY, changed


def of_kind(study: str, kind: str) -> dict[str, str]:
    return {row["name"]: row["label"] for row in name_rows(Study(study)) if row["kind"] == kind}


def test_names_have_the_labels_and_the_order_of_the_files():
    assert list(of_kind("quickstart", "task").items()) == [
        ("arithmetic", "Arithmetic"),
        ("world", "World"),
        ("sentences", "Sentences"),
    ]
    own = list(Study("quickstart").variants)
    assert list(of_kind("quickstart", "variant"))[: len(own)] == own
    assert of_kind("paper-arithmetic-mistral", "set") == {"gsm8k": "GSM8K", "math": "MATH"}
    assert of_kind("paper-arithmetic-mistral", "model") == {"mistral-7b": "Mistral-7B"}


def test_a_method_is_named_although_only_variants_of_it_run():
    assert "lora-sb" not in Study("ablation-samples").variants
    assert of_kind("ablation-samples", "variant")["lora-sb"] == "LoRA-SB"


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("config/tasks/world.yaml", "label: World", "label: The world"),
        ("config/methods/lora.yaml", "label: LoRA", "label: low rank"),
        ("config/methods/lora.yaml", "#0072B2", "#0072B3"),
        (STUDY, "[arithmetic, world,", "[world, arithmetic,"),
    ],
)
def test_their_hash_changes_with_labels_styles_and_order(project, file, old, new):
    before = names_hash(Study("quickstart"))
    changed(project, file, old, new)
    assert names_hash(Study("quickstart")) != before


@pytest.mark.parametrize("key", ["color", "marker", "line"])
def test_styles_tell_variants_apart_in_colour_and_in_grey(key):
    """The base model is a line of reference, without markers; full and LoRA-SB differ in theirs."""
    styles = [load_variant(name).get("style") for name in variants()]
    found = [style[key] for style in styles if style]
    if key == "line":
        assert set(found) == {"-", "--", "-.", ":"}
    else:
        assert len(set(found)) == len(found) == 5
