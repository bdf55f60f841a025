"""Loading base models: heads, determinism, clear refusals; shapes without weights."""

from __future__ import annotations

import json
import logging as standard_logging
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import (
    BartConfig,
    BertConfig,
    BertForSequenceClassification,
    BertModel,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    T5Config,
)
from transformers.utils import logging

from lorasb.config import read as config
from lorasb.errors import UserError
from lorasb.models.layers import head_parameters, matching_modules, oriented_weight, target_shapes
from lorasb.models.load import load_model, load_tokenizer, skeleton
from lorasb.models.spec import ModelSpec

ROOT = Path(__file__).resolve().parents[3]
MINILM = ROOT.parent / "shared" / "models" / "sentence-transformers" / "all-MiniLM-L6-v2"
WORDS = ["<pad>", "</s>", "a", "b", "c", "d"]
LLM_TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
ENCODER_TARGETS = ["query", "value", "attention.output.dense", "output.dense"]


def small_llama() -> LlamaForCausalLM:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return LlamaForCausalLM(
            LlamaConfig(
                vocab_size=len(WORDS),
                hidden_size=8,
                intermediate_size=12,
                num_hidden_layers=2,
                num_attention_heads=2,
                num_key_value_heads=1,
                tie_word_embeddings=True,
            )
        )


def small_bert_config() -> BertConfig:
    return BertConfig(
        vocab_size=len(WORDS),
        hidden_size=8,
        intermediate_size=12,
        num_hidden_layers=2,
        num_attention_heads=2,
    )


def save_tokenizer(folder: Path, **special: str) -> None:
    words = Tokenizer(WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="a"))
    words.pre_tokenizer = WhitespaceSplit()
    PreTrainedTokenizerFast(tokenizer_object=words, **special).save_pretrained(folder)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    small_llama().save_pretrained(tmp_path)
    save_tokenizer(tmp_path, pad_token="<pad>", eos_token="</s>")
    return tmp_path


def spec_for(folder: Path, **changes: object) -> ModelSpec:
    spec = ModelSpec(
        label="small",
        hub_id=None,
        path=str(folder),
        revision=None,
        dtype="float32",
        architecture=None,
        kinds=["generation", "classification", "regression"],
        target_modules=LLM_TARGETS,
        task_head=["score"],
    )
    return replace(spec, **changes)  # type: ignore[arg-type]


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def head_of(folder: Path, seed: int, dtype: str = "float32") -> torch.Tensor:
    model = load_model(
        spec_for(folder, dtype=dtype), kind="classification", num_labels=3, generator=seeded(seed)
    )
    weight: torch.Tensor = model.score.weight
    return weight.detach()


def test_generation_model_is_the_saved_one(folder: Path) -> None:
    model = load_model(spec_for(folder), kind="generation", num_labels=1, generator=seeded(0))
    tokens = torch.tensor([[2, 3, 4]])
    torch.testing.assert_close(
        model(tokens).logits, small_llama().eval()(tokens).logits, rtol=0, atol=0
    )
    assert not model.training
    assert model.config.pad_token_id == model.generation_config.pad_token_id == 0


def test_dtype_is_that_of_the_description(folder: Path) -> None:
    spec = spec_for(folder, dtype="bfloat16")
    model = load_model(spec, kind="generation", num_labels=1, generator=seeded(0))
    assert {value.dtype for value in model.parameters()} == {torch.bfloat16}


@pytest.mark.parametrize(("named", "found"), [(None, "sdpa"), ("sdpa", "sdpa"), ("eager", "eager")])
def test_attention_is_that_of_the_description(folder: Path, named: str, found: str) -> None:
    spec = spec_for(folder, attention=named)
    model = load_model(spec, kind="generation", num_labels=1, generator=seeded(0))
    without = skeleton(spec, kind="generation", num_labels=1)
    assert {one.config._attn_implementation for one in (model, without)} == {found}
    tokens = torch.tensor([[2, 3, 4], [0, 0, 5]])
    mask = tokens != 0
    mine, plain = (m(tokens, attention_mask=mask).logits[mask] for m in (model, small_llama()))
    torch.testing.assert_close(mine, plain)


def test_head_depends_on_the_generator_and_on_nothing_else(folder: Path) -> None:
    torch.manual_seed(1)
    first = head_of(folder, seed=7)
    torch.manual_seed(2)
    assert torch.equal(head_of(folder, seed=7), first)
    assert not torch.equal(head_of(folder, seed=8), first)
    assert torch.equal(head_of(folder, seed=7, dtype="bfloat16"), first.bfloat16())


def test_loading_leaves_the_global_generator_alone(folder: Path) -> None:
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    head_of(folder, seed=7)
    skeleton(spec_for(folder), kind="classification", num_labels=3)
    assert torch.equal(torch.rand(2), expected)


def test_head_of_an_encoder_is_small_and_its_bias_zero(tmp_path: Path) -> None:
    BertModel(replace_size(small_bert_config(), 256)).save_pretrained(tmp_path)
    save_tokenizer(tmp_path, pad_token="<pad>")
    spec = spec_for(tmp_path, task_head=["classifier"])
    model = load_model(spec, kind="classification", num_labels=64, generator=seeded(0))
    # 64 * 256 draws: the standard error of their standard deviation is 0.6 %, five of them 3 %
    assert model.classifier.weight.std().item() == pytest.approx(0.02, rel=0.03)
    assert torch.equal(model.classifier.bias, torch.zeros(64))


def replace_size(settings: BertConfig, hidden_size: int) -> BertConfig:
    settings.hidden_size = hidden_size
    return settings


@pytest.mark.parametrize(
    ("kind", "problem"),
    [("classification", "single_label_classification"), ("regression", "regression")],
)
def test_head_knows_its_problem(folder: Path, kind: str, problem: str) -> None:
    spec = spec_for(folder)
    model = load_model(spec, kind=kind, num_labels=1, generator=seeded(0))  # type: ignore[arg-type]
    assert model.config.problem_type == problem
    assert model.config.num_labels == 1


def test_loading_is_silent_and_restores_verbosity(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    # transformers' handler holds the stderr of its import; a fresh one writes where capfd looks
    handler = standard_logging.StreamHandler()
    logging.add_handler(handler)
    logging.set_verbosity_warning()
    try:
        head_of(folder, seed=0)
        assert logging.get_verbosity() == standard_logging.WARNING
        assert logging.is_progress_bar_enabled()
    finally:
        logging.remove_handler(handler)
    captured = capfd.readouterr()
    assert captured.out + captured.err == ""


def truncate(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-10])


def drop_tensor(folder: Path) -> None:
    path = folder / "model.safetensors"
    tensors = load_file(path)
    del tensors["model.layers.1.mlp.up_proj.weight"]
    save_file(tensors, path, metadata={"format": "pt"})


def set_config(**changes: object) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return change


def write(name: str, content: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_text(content)  # type: ignore[return-value]


def remove(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def other_shape(folder: Path) -> None:
    path = folder / "model.safetensors"
    tensors = load_file(path) | {"model.norm.weight": torch.ones(3)}
    save_file(tensors, path, metadata={"format": "pt"})


DAMAGES = [
    (truncate, "damaged or cut off"),
    (drop_tensor, "first 'model.layers.1.mlp.up_proj.weight'"),
    (other_shape, "'model.norm.weight' with (3,) in place of (8,)"),
    (write("model.safetensors", ""), "damaged or cut off"),
    (write("model.safetensors", "version https://git-lfs.github.com/spec/v1\n"), "damaged or cut"),
    (remove("model.safetensors"), "no file named model.safetensors"),
    (remove("config.json"), "config.json: no such file"),
    (write("config.json", "{"), "config.json: not a JSON object"),
    (write("config.json", ""), "config.json: not a JSON object"),
    (write("config.json", "[1, 2]"), "config.json: not a JSON object"),
    (write("config.json", '{"hidden_size": 8}'), "should have a `model_type` key"),
    (set_config(model_type="unknown"), "model type `unknown`"),
    (set_config(model_type="vit"), "ViTConfig"),
    (set_config(model_type="bert"), "the weights lack"),
    (set_config(hidden_size="wide"), "hidden_size"),
    (set_config(hidden_size=16), "weights have other shapes than config.json says"),
    (set_config(num_attention_heads=0), "ZeroDivisionError"),
    (set_config(hidden_act="none"), "KeyError"),
    (remove("tokenizer.json"), "tokenizer cannot be read"),
    (write("tokenizer.json", "{"), "tokenizer.json: not a JSON object"),
    (write("tokenizer.json", "{}"), "tokenizer cannot be read"),
    (write("tokenizer_config.json", "[]"), "tokenizer_config.json: not a JSON object"),
    (write("generation_config.json", "[]"), "generation_config.json: not a JSON object"),
]


@pytest.mark.parametrize(("damage", "part"), DAMAGES)
def test_damaged_model_is_refused_in_one_line(
    folder: Path, damage: Callable[[Path], None], part: str
) -> None:
    damage(folder)
    with pytest.raises(UserError) as caught:
        load_model(spec_for(folder), kind="generation", num_labels=1, generator=seeded(0))
    message = str(caught.value)
    assert part.lower() in message.lower()
    assert str(folder) in message
    assert "\n" not in message
    assert len(message) < 700  # what a library says is cut


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors"])
def test_folder_in_the_place_of_a_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    (folder / name).mkdir()
    with pytest.raises(IsADirectoryError) as caught:
        load_model(spec_for(folder), kind="generation", num_labels=1, generator=seeded(0))
    assert caught.value.filename == folder / name or caught.value.filename == str(folder / name)


def test_code_of_a_model_is_never_run(folder: Path, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    (folder / "own.py").write_text(f"open({str(ran)!r}, 'w')\nclass Own: pass\n")
    names = {"AutoConfig": "own.Own", "AutoModelForCausalLM": "own.Own"}
    set_config(model_type="own", auto_map=names)(folder)
    with pytest.raises(UserError, match="needs code of its own, which is never run"):
        skeleton(spec_for(folder), kind="generation", num_labels=1)
    assert not ran.exists()


@pytest.mark.parametrize("architecture", ["none.json", "list.json"])
def test_shapes_that_cannot_be_read_are_named(folder: Path, architecture: str) -> None:
    (folder / "list.json").write_text("[]")
    path = folder / architecture
    with pytest.raises(UserError, match=rf"^{path}: (no such file|not a JSON object)"):
        skeleton(spec_for(folder, architecture=str(path)), kind="generation", num_labels=1)


class Harm:
    """Makes a file where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "consolidated.00.pth"])
def test_weights_by_pickle_are_refused_unless_the_description_allows_them(
    folder: Path, name: str
) -> None:
    whole = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(whole, folder / name)
    with pytest.raises(UserError, match=rf"{name}: weights by pickle.*; convert them .* or allow"):
        load_model(spec_for(folder), kind="generation", num_labels=1, generator=seeded(0))
    if name == "pytorch_model.bin":  # the one that transformers knows
        spec = spec_for(folder, pickled_weights=True)
        model = load_model(spec, kind="generation", num_labels=1, generator=seeded(0))
        assert torch.equal(model.model.norm.weight, whole["model.norm.weight"])


def test_allowed_pickle_runs_no_code(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Harm(folder / "harm")))
    spec = spec_for(folder, pickled_weights=True)
    with pytest.raises(UserError, match="weights cannot be read"):
        load_model(spec, kind="generation", num_labels=1, generator=seeded(0))
    assert not (folder / "harm").exists()


def test_other_number_of_labels_in_the_file_is_no_fault(folder: Path) -> None:
    """The head starts anew, whatever head a model was published with."""
    model = load_model(spec_for(folder), kind="classification", num_labels=2, generator=seeded(0))
    model.save_pretrained(folder)
    assert head_of(folder, seed=7).shape == (3, 8)


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"path": "nowhere/model"}, "nowhere/model: no such folder"),
        (
            {"path": None, "hub_id": "nobody/uncached-model"},
            "no network and nothing cached: nobody/uncached-model",
        ),
        ({"kinds": ["classification"]}, "cannot do generation; it does: classification"),
    ],
)
def test_model_out_of_reach_is_refused(folder: Path, changes: dict, part: str) -> None:  # type: ignore[type-arg]
    spec = spec_for(folder, **changes)
    with pytest.raises(UserError) as caught:
        load_model(spec, kind="generation", num_labels=1, generator=seeded(0))
    assert part in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"dtype": "float8"}, "unknown dtype 'float8'; known: float32, bfloat16"),
        ({"path": "somewhere"}, "one of hub_id, path and package"),
        ({"hub_id": None}, "one of hub_id, path and package"),
    ],
)
def test_bad_description_is_refused(changes: dict, part: str) -> None:  # type: ignore[type-arg]
    described = config.load_model_config("roberta-large") | changes
    with pytest.raises(UserError, match=part):
        ModelSpec.from_config(described)


def test_end_of_text_pads_where_no_token_does(tmp_path: Path) -> None:
    save_tokenizer(tmp_path, eos_token="</s>")
    assert load_tokenizer(spec_for(tmp_path)).pad_token_id == 1


def test_tokenizer_that_cannot_pad_is_refused(tmp_path: Path) -> None:
    save_tokenizer(tmp_path)
    with pytest.raises(UserError, match="neither a pad nor an eos token"):
        load_tokenizer(spec_for(tmp_path))


def test_skeleton_has_every_shape_and_no_weights(folder: Path) -> None:
    spec = spec_for(folder)
    bones = skeleton(spec, kind="classification", num_labels=3)
    model = load_model(spec, kind="classification", num_labels=3, generator=seeded(0))
    assert {value.device.type for value in bones.parameters()} == {"meta"}
    assert [(name, value.shape) for name, value in bones.named_parameters()] == [
        (name, value.shape) for name, value in model.named_parameters()
    ]


def test_targets_match_whole_names_or_ends_after_a_dot() -> None:
    model = small_llama()
    assert list(
        matching_modules(model, ["model.layers.1.mlp.up_proj", "layers.0.mlp.up_proj"])
    ) == [
        "model.layers.0.mlp.up_proj",
        "model.layers.1.mlp.up_proj",
    ]
    shapes = target_shapes(model, ["k_proj"])
    # one key head of size 4 on a width of 8
    assert shapes == {f"model.layers.{i}.self_attn.k_proj": (4, 8) for i in range(2)}


@pytest.mark.parametrize("target", ["proj", "up_pro", "self_attn", "norm", ""])
def test_target_without_a_linear_layer_is_refused(target: str) -> None:
    with pytest.raises(UserError, match=f"target module '{target}' matches no linear layer of Lla"):
        matching_modules(small_llama(), ["q_proj", target])


def test_layers_of_the_task_head_never_match() -> None:
    model = BertForSequenceClassification(small_bert_config())
    shapes = target_shapes(model, ["query", "classifier"])
    assert "classifier" in shapes
    with pytest.raises(UserError, match="'classifier'"):
        target_shapes(model, ["query", "classifier"], exclude=["classifier"])


def test_transposed_weights_report_out_before_in() -> None:
    model = GPT2LMHeadModel(GPT2Config(vocab_size=5, n_positions=4, n_embd=6, n_layer=1, n_head=2))
    assert target_shapes(model, ["c_attn"]) == {"transformer.h.0.attn.c_attn": (18, 6)}
    layer = model.transformer.h[0].attn.c_attn
    weight = oriented_weight(layer)
    assert not weight.requires_grad
    x = torch.randn(2, 6, generator=seeded(0))
    # float32 sums of six products
    torch.testing.assert_close(x @ weight.T + layer.bias, layer(x), rtol=1e-5, atol=1e-6)


def test_head_parameters_are_those_of_the_named_modules() -> None:
    model = BertForSequenceClassification(small_bert_config())
    assert set(head_parameters(model, ["classifier"])) == {"classifier.weight", "classifier.bias"}
    assert head_parameters(model, []) == {}
    with pytest.raises(UserError, match="BertForSequenceClassification has no module 'score'"):
        head_parameters(model, ["score"])


@pytest.mark.parametrize(
    ("slug", "targets", "adapted", "head"),
    [
        ("all-minilm-l6-v2", ENCODER_TARGETS, 24, 384 * 2 + 2),
        ("roberta-large", ENCODER_TARGETS, 96, 1_051_650),
        ("mistral-7b", LLM_TARGETS, 224, 2 * 4096),
        ("gemma-2-9b", LLM_TARGETS, 294, 2 * 3584),
        ("llama-3.2-3b", LLM_TARGETS, 196, 2 * 3072),
        ("llama-3.1-8b", LLM_TARGETS, 224, 2 * 4096),
    ],
)
def test_shipped_model(slug: str, targets: list[str], adapted: int, head: int) -> None:
    spec = ModelSpec.from_config(config.load_model_config(slug))
    model = skeleton(spec, kind="classification", num_labels=2)
    assert list(spec.target_modules) == targets
    names = target_shapes(model, spec.target_modules, exclude=spec.task_head)
    assert len(names) == adapted
    assert not any("intermediate" in name or "pooler" in name for name in names)
    assert sum(v.numel() for v in head_parameters(model, spec.task_head).values()) == head


@pytest.mark.parametrize("kind", [T5Config, BartConfig])
def test_a_sequence_to_sequence_model_does_not_generate(kind: type, tmp_path: Path) -> None:
    kind(d_model=8).save_pretrained(tmp_path)
    with pytest.raises(UserError, match=r"a sequence-to-sequence model .*; generation tasks need"):
        skeleton(spec_for(tmp_path), kind="generation", num_labels=1)


def test_targets_that_are_no_expression_are_one_line() -> None:
    data = config.load_model_config("quickstart-llama") | {"target_modules": "*proj"}
    with pytest.raises(
        UserError, match=r"'\*proj' is no regular expression: nothing to repeat at p"
    ):
        ModelSpec.from_config(data)


def test_every_model_file_is_valid() -> None:
    slugs = config.names("models")
    assert {"quickstart-llama", "all-minilm-l6-v2", "roberta-large"} <= set(slugs)
    for slug in slugs:
        ModelSpec.from_config(config.load_model_config(slug))


@pytest.mark.skipif(not MINILM.exists(), reason="needs the real weights in ../shared")
def test_real_encoder_has_its_trained_weights_and_a_new_head() -> None:
    spec = ModelSpec.from_config(config.load_model_config("all-minilm-l6-v2"))
    spec = replace(spec, hub_id=None, path=str(MINILM))
    model = load_model(spec, kind="classification", num_labels=2, generator=seeded(0))
    stored = load_file(MINILM / "model.safetensors")
    for name in ("encoder.layer.5.output.dense.weight", "pooler.dense.weight"):
        assert torch.equal(model.get_parameter(f"bert.{name}"), stored[name])
    assert len(target_shapes(model, spec.target_modules)) == 24
