"""What holds for every variant in `config/methods`, whoever wrote it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel

from lorasb.config.read import variants
from lorasb.methods.full import Full
from lorasb.methods.method import Context, Method
from lorasb.methods.peft.method import PeftMethod
from lorasb.methods.registry import make_variant
from lorasb.models.layers import matching_modules, oriented_weight, target_shapes
from lorasb.probes.replay import plain_name
from lorasb.start.activations import Activations, Moments, save_activations
from lorasb.start.factors import factorize, save_factors
from lorasb.start.gradients import save_gradients
from tests.unit.tiny import tiny_bert, tiny_llama, tiny_roberta

VARIANTS = variants()
ADAPTERS = [v for v in VARIANTS if isinstance(make_variant(v).method, PeftMethod)]
# those that train all weights
WHOLE = [v for v in VARIANTS if isinstance(make_variant(v).method, Full) and v != "base"]
TRAINED = [variant for variant in VARIANTS if make_variant(variant).method.trains]
# what differs from a file so that it fits weights of 8 to 24 rows and columns
SMALL: dict[str, dict[str, Any]] = {
    "vblora": {"vector_length": 8},
    "road": {"group_size": 8},
    # as many groups as inputs would be plain LoRA
    "velora": {"velora_config": {"num_groups": 4, "init_type": "batch_average_once"}},
}
# those whose training does not start at W0: coefficients are drawn; R but where it is 0
MOVED = {"fourierft", "c3a", "vblora", "unilora", "lora-one", "kasa"} | {
    v
    for v in VARIANTS
    if v.startswith(("lora-sb", "lora-xs")) and "zero" not in v and "sgd" not in v
}
# what a tuner fits to its inputs without a gradient
FITTED = "lora_velora_embed"
# those that change no adapted weight
BESIDE = {"ln-tuning"}
# those whose start follows from the weights alone, whatever the seed
DRAW_NOTHING = {
    "boft",
    "corda",
    "corda-kpm",
    "eva",
    "ia3",
    "ln-tuning",
    "lora-ga",
    "lora-one",
    "lora-sb-gradient",
    "mica",
    "miss",
    "oft",
    "olora",
    "psoft",
    "road",
}
LLAMA_TARGETS = ["q_proj", "v_proj", "down_proj"]
BERT_TARGETS = ["query", "attention.output.dense", "output.dense"]
RANK = 4


def inputs() -> dict[str, torch.Tensor]:
    ids = torch.tensor([[5, 6, 7, 8, 9, 4], [9, 8, 3, 4, 1, 2]])
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def context(model: PreTrainedModel, targets: list[str], folder: Path, **changes: Any) -> Context:
    weights = {
        name: oriented_weight(module) for name, module in matching_modules(model, targets).items()
    }
    random = torch.Generator().manual_seed(3)
    gradients = {name: torch.randn(w.shape, generator=random) for name, w in weights.items()}
    save_factors(factorize(weights, RANK, step="none"), folder / "weights.safetensors")
    save_gradients(gradients, folder / "gradient.safetensors")
    save_factors(factorize(gradients, RANK, step="sign"), folder / "gradients.safetensors")
    save_activations(activations(weights), folder / "activations.safetensors")
    values: dict[str, Any] = {
        "rank": RANK,
        "start_learning_rate": 1e-3,
        "svd": "converged",
        "seed": 0,
        "target_modules": targets,
        "task_head": [],
        "steps": 10,
        "inputs": {
            "gradient": folder / "gradient.safetensors",
            "activations": folder / "activations.safetensors",
            "weight_factors": folder / "weights.safetensors",
            "gradient_factors": folder / "gradients.safetensors",
        },
    }
    return Context(**values | changes)


def activations(weights: dict[str, torch.Tensor]) -> Activations:
    """Of inputs that are drawn, of 40 tokens; states have more directions block by block."""
    random = torch.Generator().manual_seed(4)
    moments = {}
    for name, weight in weights.items():
        x = torch.randn(40, weight.shape[1], generator=random)
        moments[name] = Moments(x.T @ x / len(x), x.mean(dim=0), 20.0, float(x.max()))
    drawn = torch.randn(3, 200, 16, generator=random)
    states = [drawn[block] * (torch.arange(16) < 2 * block + 2) for block in range(3)]
    return Activations(moments, torch.stack(states))


def attached(
    variant: str, folder: Path, **changes: Any
) -> tuple[Method, torch.nn.Module, dict[str, torch.Tensor]]:
    """The method on a tiny Llama, and the adapted weights before it."""
    model = tiny_llama(0)
    base = {
        name: oriented_weight(module).clone()
        for name, module in matching_modules(model, LLAMA_TARGETS).items()
    }
    method = small(variant)
    return method, method.attach(model, context(model, LLAMA_TARGETS, folder, **changes)), base


def small(variant: str) -> Method:
    """The method of a variant, made to fit tiny weights."""
    method = make_variant(variant).method
    if variant in SMALL:
        method.arguments["options"] |= SMALL[variant]
    return method


def step(
    method: Method,
    model: torch.nn.Module,
    times: int = 3,
    *,
    labels: torch.Tensor | None = None,
) -> None:
    """A few real optimiser steps, so that nothing stays at its start; on its tokens by default."""
    optimizer = method.optimizer(model, 1e-2, 0.0)
    batch = inputs()
    batch["labels"] = batch["input_ids"] if labels is None else labels
    for _ in range(times):
        model(**batch).loss.backward()
        optimizer.step()
        optimizer.zero_grad()


def logits(model: torch.nn.Module) -> torch.Tensor:
    model.eval()
    with torch.no_grad():
        return model(**inputs()).logits


@pytest.mark.parametrize("variant", VARIANTS)
def test_count_equals_what_is_trained(variant, tmp_path):
    method, model, _ = attached(variant, tmp_path)
    shapes = target_shapes(tiny_llama(0), LLAMA_TARGETS)
    counts = method.count(shapes, RANK, tiny_llama(0).num_parameters())
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert counts.trainable == trained
    assert (trained > 0) == method.trains


@pytest.mark.parametrize("variant", ADAPTERS)
def test_stored_count_is_what_is_saved_less_what_can_be_computed_again(variant, tmp_path):
    from safetensors.torch import load_file

    method, model, _ = attached(variant, tmp_path)
    method.save(model, tmp_path / "adapter")
    saved = load_file(tmp_path / "adapter/adapter_model.safetensors")
    if "weight_factors" in method.needs:
        saved = {name: value for name, value in saved.items() if "_R" in name}
    shapes = target_shapes(tiny_llama(0), LLAMA_TARGETS)
    assert method.count(shapes, RANK, 0).stored == sum(v.numel() for v in saved.values())


@pytest.mark.parametrize("variant", TRAINED)
def test_training_changes_what_is_trainable_and_nothing_else(variant, tmp_path):
    method, model, _ = attached(variant, tmp_path)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    trainable = {name for name, p in model.named_parameters() if p.requires_grad}
    step(method, model)
    # of tensors under several names, such as a bank that all layers share, one is a parameter's
    moved = {model.state_dict()[name].data_ptr() for name in trainable}
    tied = {"lm_head.weight"}  # the same tensor as the embedding
    for name, value in model.state_dict().items():
        if value.data_ptr() in moved:
            assert not torch.equal(value, before[name]), name
        elif name not in tied and FITTED not in name:
            assert torch.equal(value, before[name]), name


@pytest.mark.parametrize("variant", TRAINED)
def test_training_starts_at_the_base_model_or_is_said_not_to(variant, tmp_path):
    _, model, _ = attached(variant, tmp_path)
    found, base = logits(model), logits(tiny_llama(0))
    if variant in MOVED:
        assert not torch.allclose(found, base, rtol=0, atol=1e-5)
    else:
        # float32 sums in another order; logits are of size 1
        torch.testing.assert_close(found, base, rtol=0, atol=1e-5)


@pytest.mark.parametrize("variant", VARIANTS)
def test_save_and_load_keep_a_trained_model(variant, tmp_path):
    method, model, _ = attached(variant, tmp_path)
    if method.trains:
        step(method, model)
    method.save(model, tmp_path / "adapter")
    loaded = method.load(tiny_llama(0), tmp_path / "adapter")
    assert torch.equal(logits(loaded), logits(model))
    if method.trains:
        assert not torch.equal(logits(loaded), logits(tiny_llama(0)))


@pytest.mark.parametrize("variant", TRAINED)
def test_saved_bytes_do_not_depend_on_the_process(variant, tmp_path):
    method, model, _ = attached(variant, tmp_path)
    method.save(model, tmp_path / "a")
    method.save(attached(variant, tmp_path)[1], tmp_path / "b")
    for path in (tmp_path / "a").iterdir():
        if path.suffix != ".md":
            assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes(), path.name


@pytest.mark.parametrize("variant", VARIANTS)
def test_updates_added_to_the_base_weights_give_the_model(variant, tmp_path):
    """What the direction measures compare is the change that the model really has."""
    method, model, base = attached(variant, tmp_path)
    if method.trains:
        step(method, model)
    other = tiny_llama(0)
    if variant in WHOLE:
        # full fine-tuning also changes weights that adapters do not
        other.load_state_dict(model.state_dict())
        for name, weight in base.items():
            other.get_submodule(name).weight.data.copy_(weight)
    if variant in BESIDE:
        with torch.no_grad():
            for name, value in model.named_parameters():
                if value.requires_grad:
                    other.get_parameter(plain_name(name)).copy_(value)
    for name, update in method.updates(model, base).items():
        assert update.dtype == torch.float32
        other.get_submodule(name).weight.data += update
    # float32 sums in another order; logits are of size 1
    torch.testing.assert_close(logits(other), logits(model), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("variant", ADAPTERS)
def test_task_head_is_trained_and_saved(variant, tmp_path):
    model = tiny_bert(0)
    method = small(variant)
    told = context(model, BERT_TARGETS, tmp_path, task_head=["classifier"])
    adapted = method.attach(model, told)
    step(method, adapted, times=2, labels=torch.tensor([0, 1]))
    method.save(adapted, tmp_path / "adapter")
    loaded = method.load(tiny_bert(0), tmp_path / "adapter")
    assert torch.equal(logits(loaded), logits(adapted))
    head = loaded.get_base_model().classifier
    assert not torch.equal(head.weight, tiny_bert(0).classifier.weight)


@pytest.mark.parametrize("variant", TRAINED)
def test_layers_of_the_task_head_are_not_adapted(variant, tmp_path):
    """Targets that match them too: the head is trained whole."""
    head, targets = ["classifier"], ["dense"]
    model = tiny_roberta(0)
    method = small(variant)
    shapes = target_shapes(model, targets, head)
    assert len(target_shapes(model, targets)) == len(shapes) + 1
    base = {
        name: oriented_weight(module).clone()
        for name, module in matching_modules(model, targets, head).items()
    }
    in_head = sum(value.numel() for value in model.classifier.parameters())
    numbers = model.num_parameters()
    told = context(model, targets, tmp_path, task_head=head)
    adapted = method.attach(model, told)
    step(method, adapted, times=2, labels=torch.tensor([0, 1]))
    trained = sum(p.numel() for p in adapted.parameters() if p.requires_grad)
    counts = method.count(shapes, RANK, numbers).with_task_head(in_head)
    assert counts.trainable_with_task_head == trained
    updates = method.updates(adapted, base)
    assert all(update.any() == (variant not in BESIDE) for update in updates.values())


@pytest.mark.parametrize("build", [tiny_llama, tiny_bert])
@pytest.mark.parametrize("variant", TRAINED)
def test_what_is_trained_of_a_bfloat16_model_is_float32(variant, build, tmp_path):
    method = small(variant)
    targets, head = (LLAMA_TARGETS, []) if build is tiny_llama else (BERT_TARGETS, ["classifier"])
    told = context(build(0), targets, tmp_path, task_head=head)
    model = method.attach(build(0).bfloat16(), told)
    dtypes = {value.dtype for value in model.parameters() if value.requires_grad}
    assert {dtype.itemsize for dtype in dtypes} == {method.bytes_a_number(2)}
    if variant not in WHOLE:
        frozen = {value.dtype for value in model.parameters() if not value.requires_grad}
        assert torch.bfloat16 in frozen
    optimizer = method.optimizer(model, 1e-2, 0.0)
    for autocast in (True, False):
        labels = torch.tensor([0, 1]) if head else inputs()["input_ids"]
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
            model(**inputs(), labels=labels).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    method.save(model, tmp_path / "adapter")
    loaded = method.load(build(0).bfloat16(), tmp_path / "adapter")
    assert torch.equal(logits(loaded), logits(model))


def test_only_full_with_base_weights_trains_less_than_float32():
    short = [v for v in VARIANTS if make_variant(v).method.bytes_a_number(2) != 4]
    assert short == ["full-kahan"]
    assert "Kahan" in make_variant("full-kahan").label


@pytest.mark.parametrize("options", [{"bias": "all"}, {"bias": "lora_only"}])
def test_what_a_tuner_would_train_in_bfloat16_is_refused(options, tmp_path):
    from lorasb.errors import UserError

    method = make_variant("lora").method
    method.arguments["options"] |= options
    told = context(tiny_bert(0), BERT_TARGETS, tmp_path)
    assert method.attach(tiny_bert(0), told)
    with pytest.raises(UserError, match=r"arguments.options: they train .*bias in fewer bits"):
        method.attach(tiny_bert(0).bfloat16(), told)


@pytest.mark.parametrize("variant", ADAPTERS)
def test_same_seed_same_bits_other_seed_other_start(variant, tmp_path):
    def outcome(seed: int, state: int) -> torch.Tensor:
        """After a few steps, so that places and directions that are drawn have a part in it."""
        torch.manual_seed(state)
        method, model, _ = attached(variant, tmp_path, seed=seed)
        torch.manual_seed(0)  # of what is drawn in training
        step(method, model)
        return logits(model)

    first = outcome(0, state=99)
    assert torch.equal(first, outcome(0, state=7))
    # LoRA-SB draws nothing: its seed acts through the gradient's samples
    same = variant in DRAW_NOTHING or make_variant(variant).method.needs == {"gradient_factors"}
    assert torch.equal(first, outcome(1, state=99)) == same


@pytest.mark.parametrize("variant", ADAPTERS)
def test_attaching_leaves_the_global_random_state_alone(variant, tmp_path):
    before = torch.random.get_rng_state()
    attached(variant, tmp_path)
    assert torch.equal(before, torch.random.get_rng_state())


def test_unreadable_adapter_is_one_line(tmp_path):
    from lorasb.errors import UserError

    method, model, _ = attached("lora-sb", tmp_path)
    method.save(model, tmp_path / "adapter")
    path = tmp_path / "adapter/adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(UserError, match="adapter"):
        method.load(tiny_llama(0), tmp_path / "adapter")
    with pytest.raises(UserError, match=r"none: no readable adapter \(no adapter_model"):
        method.load(tiny_llama(0), tmp_path / "none")
