"""Starting LoRA-SB and LoRA-XS, against the papers' formulas in float64."""

from __future__ import annotations

import copy
import math
from typing import Any

import peft
import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from lorasb.errors import UserError
from lorasb.linalg.svd import Factors
from lorasb.models.layers import matching_modules, oriented_weight
from lorasb.start.factors import factorize
from lorasb.start.fill import initialize_lora_sb, initialize_lora_xs
from lorasb.training.schedule import first_learning_rate
from lorasb.tuner import LoraXSConfig, LoraXSLayer
from tests.unit.tiny import GPT2_TARGETS, LLAMA_TARGETS, tiny_gpt2, tiny_llama, train

RANK, ETA = 4, 0.01
# a float32 SVD is orthonormal to the size of the matrix, up to 24, times 1.2e-7
ORTHONORMAL = 5e-6


def adapted(
    model: PreTrainedModel, targets: list[str] = LLAMA_TARGETS, **options: Any
) -> peft.PeftModel:
    config = LoraXSConfig(r=RANK, target_modules=targets, **{"init_weights": "empty"} | options)
    return peft.get_peft_model(model, config)


def random_gradients(
    model: PreTrainedModel, targets: list[str] = LLAMA_TARGETS
) -> dict[str, Tensor]:
    random = torch.Generator().manual_seed(2)
    return {
        name: torch.randn(oriented_weight(module).shape, generator=random)
        for name, module in matching_modules(model, targets).items()
    }


def layers(model: peft.PeftModel) -> dict[str, LoraXSLayer]:
    return {
        name: module
        for name, module in model.get_base_model().named_modules()
        if isinstance(module, LoraXSLayer)
    }


def best(matrix: Tensor, rank: int) -> Tensor:
    """Best approximation of a rank (Eckart-Young), float64."""
    U, S, Vh = torch.linalg.svd(matrix.double(), full_matrices=False)
    return U[:, :rank] @ torch.diag(S[:rank]) @ Vh[:rank]


@pytest.mark.parametrize("scaling", [1.0, 0.25, 3.0])
def test_lora_sb_starts_at_the_best_form_of_the_first_step(scaling):
    base = tiny_llama(0)
    gradients = random_gradients(base)
    weights = {
        name: oriented_weight(m).clone()
        for name, m in matching_modules(base, LLAMA_TARGETS).items()
    }
    model = adapted(base, scaling=scaling)
    initialize_lora_sb(model, gradients, ETA)
    found = layers(model)
    assert found.keys() == gradients.keys()
    for name, layer in found.items():
        step = -ETA * gradients[name].double().sign()
        # float32 SVD of entries of size 0.01, whose subspace turns by rounding over a small gap
        torch.testing.assert_close(
            layer.get_delta_weight("default").double(), best(step, RANK), rtol=0, atol=1e-6
        )
        B, A = layer.lora_xs_B["default"], layer.lora_xs_A["default"]
        torch.testing.assert_close(B.T @ B, torch.eye(RANK), rtol=0, atol=ORTHONORMAL)
        torch.testing.assert_close(A @ A.T, torch.eye(RANK), rtol=0, atol=ORTHONORMAL)
        assert torch.equal(layer.weight, weights[name])


@pytest.mark.parametrize("scaling", [1.0, 4.0])
def test_other_starts_keep_the_bases_or_the_product(scaling):
    gradients = random_gradients(tiny_llama(0))
    models = {
        start: adapted(tiny_llama(0), scaling=scaling) for start in ("step", "zero", "folded")
    }
    for start, model in models.items():
        initialize_lora_sb(model, gradients, ETA, start=start)
    for name, step in layers(models["step"]).items():
        zero, folded = (layers(models[start])[name] for start in ("zero", "folded"))
        assert torch.equal(zero.lora_xs_B["default"], step.lora_xs_B["default"])
        assert torch.equal(zero.lora_xs_A["default"], step.lora_xs_A["default"])
        assert not zero.lora_xs_R["default"].any()
        assert torch.equal(folded.lora_xs_R["default"], torch.eye(RANK))
        delta = step.get_delta_weight("default")
        # the same float32 product in another order, of entries of size 0.01
        torch.testing.assert_close(folded.get_delta_weight("default"), delta, rtol=0, atol=1e-7)
        B = folded.lora_xs_B["default"]
        S = torch.linalg.svdvals(gradients[name].sign())[:RANK]
        torch.testing.assert_close(
            B.T @ B, torch.diag((ETA * S / scaling) ** 2), rtol=0, atol=ORTHONORMAL
        )


@pytest.mark.parametrize("scaling", [1.0, 4.0, 8 / 96])
def test_undivided_start_is_s_times_the_step(scaling):
    gradients = random_gradients(tiny_llama(0))
    step, undivided = (adapted(tiny_llama(0), scaling=scaling) for _ in range(2))
    initialize_lora_sb(step, gradients, ETA)
    initialize_lora_sb(undivided, gradients, ETA, start="undivided")
    for name, layer in layers(undivided).items():
        twin = layers(step)[name]
        assert torch.equal(layer.lora_xs_B["default"], twin.lora_xs_B["default"])
        assert torch.equal(layer.lora_xs_A["default"], twin.lora_xs_A["default"])
        R = layer.lora_xs_R["default"]
        S = torch.linalg.svdvals(gradients[name].double().sign())[:RANK]
        # float32 SVD of singular values up to about 10, times eta
        torch.testing.assert_close(R.double(), -ETA * torch.diag(S), rtol=0, atol=1e-6)
        assert torch.equal(R, twin.lora_xs_R["default"]) is (scaling == 1.0)
        delta = scaling * best(-ETA * gradients[name].double().sign(), RANK)
        # entries of size 0.01 times s, as above
        torch.testing.assert_close(
            layer.get_delta_weight("default").double(), delta, rtol=0, atol=1e-6 * max(1, scaling)
        )


def test_unknown_start():
    with pytest.raises(UserError, match=r"start 'warm'.*step, zero, folded, undivided"):
        initialize_lora_sb(
            adapted(tiny_llama(0)), random_gradients(tiny_llama(0)), ETA, start="warm"
        )


def test_lora_sb_takes_gradients_of_conv1d():
    gradients = random_gradients(tiny_gpt2(0), GPT2_TARGETS)
    model = adapted(tiny_gpt2(0), GPT2_TARGETS)
    initialize_lora_sb(model, gradients, ETA)
    for name, layer in layers(model).items():
        step = -ETA * gradients[name].double().sign()
        delta = layer.get_delta_weight("default").T.double()
        torch.testing.assert_close(delta, best(step, RANK), rtol=0, atol=1e-6)


def test_factors_of_a_larger_rank_start_the_same_adapter():
    gradients = random_gradients(tiny_llama(0))
    from_gradients, from_factors = adapted(tiny_llama(0)), adapted(tiny_llama(0))
    initialize_lora_sb(from_gradients, gradients, ETA)
    initialize_lora_sb(from_factors, factorize(gradients, RANK + 3, step="sign"), ETA)
    left, right = from_gradients.state_dict(), from_factors.state_dict()
    assert all(torch.equal(left[name], right[name]) for name in left)


def test_the_first_step_lowers_the_loss():
    """Theorem 4 of arXiv 2411.19557 for a small eta: <G, s B R A> < 0."""
    model, ids = tiny_llama(0), torch.tensor([[4, 9, 2, 7, 30, 11]])
    loss = model(input_ids=ids, labels=ids).loss
    modules = matching_modules(model, LLAMA_TARGETS)
    found = torch.autograd.grad(loss, [module.weight for module in modules.values()])
    model = adapted(model)
    initialize_lora_sb(model, dict(zip(modules, found, strict=True)), 1e-4)
    with torch.no_grad():
        after = model(input_ids=ids, labels=ids).loss
    slope = sum(
        (gradient * layer.get_delta_weight("default")).sum()
        for gradient, layer in zip(found, layers(model).values(), strict=True)
    )
    assert slope < 0
    # second order: the step is 1e-4 an entry, the loss is of size 1
    assert (after - loss).item() == pytest.approx(slope.item(), rel=0.05)


def test_lora_xs_starts_at_the_factors_of_the_weight():
    weights = {
        name: oriented_weight(module)
        for name, module in matching_modules(tiny_llama(0), LLAMA_TARGETS).items()
    }
    factors = factorize(weights, RANK + 2, step="none")
    model = adapted(tiny_llama(0))
    initialize_lora_xs(model, factors, generator=torch.Generator().manual_seed(1))
    drawn = []
    for name, layer in layers(model).items():
        B, A = layer.lora_xs_B["default"], layer.lora_xs_A["default"]
        torch.testing.assert_close((B @ A).double(), best(weights[name], RANK), rtol=0, atol=1e-5)
        torch.testing.assert_close(B.T @ B, torch.eye(RANK), rtol=0, atol=ORTHONORMAL)
        S = torch.linalg.svdvals(weights[name])[:RANK]
        torch.testing.assert_close(A @ A.T, torch.diag(S**2), rtol=0, atol=1e-5)
        drawn.append(layer.lora_xs_R["default"].detach().flatten())
    values = torch.cat(drawn)
    # 96 draws: the standard error of the deviation is 7 %, of the mean 10 % of 1e-5
    assert values.std().item() == pytest.approx(1e-5, rel=0.3)
    assert abs(values.mean().item()) < 4e-6
    assert values.unique().numel() == values.numel()


def test_lora_xs_draws_from_the_passed_generator_alone():
    weights = {
        n: oriented_weight(m) for n, m in matching_modules(tiny_llama(0), LLAMA_TARGETS).items()
    }
    factors = factorize(weights, RANK, step="none")

    def start(seed: int) -> Tensor:
        model = adapted(tiny_llama(0))
        initialize_lora_xs(model, factors, generator=torch.Generator().manual_seed(seed))
        return next(iter(layers(model).values())).lora_xs_R["default"].detach()

    torch.manual_seed(0)
    first = start(1)
    assert torch.equal(first, start(1))
    assert not torch.equal(first, start(2))


def test_one_of_several_adapters_is_filled():
    model = adapted(tiny_llama(0))
    model.add_adapter("other", LoraXSConfig(r=2, target_modules=["q_proj"], init_weights="empty"))
    initialize_lora_sb(model, random_gradients(tiny_llama(0), ["q_proj"]), ETA, "other")
    for name, layer in layers(model).items():
        assert not layer.lora_xs_R["default"].any()
        assert ("other" in layer.r) == name.endswith("q_proj")
    assert layers(model)["model.layers.0.self_attn.q_proj"].lora_xs_R["other"].any()


def test_names_and_shapes_that_do_not_fit_are_refused():
    gradients = random_gradients(tiny_llama(0))
    model = adapted(tiny_llama(0))
    before = copy.deepcopy(model.state_dict())
    name = "model.layers.1.mlp.down_proj"
    less = {key: value for key, value in gradients.items() if key != name}
    with pytest.raises(UserError, match=rf"no matrix is given for {name}, which is adapted \(1 "):
        initialize_lora_sb(model, less, ETA)
    with pytest.raises(
        UserError, match=r"a matrix is given for lm_head, which is not adapted \(1 "
    ):
        initialize_lora_sb(model, gradients | {"lm_head": torch.ones(40, 16)}, ETA)
    with pytest.raises(UserError, match="no lora_xs adapter 'other'"):
        initialize_lora_sb(model, gradients, ETA, "other")
    with pytest.raises(UserError, match="no lora_xs adapter 'default'"):
        initialize_lora_sb(tiny_llama(0), gradients, ETA)
    with pytest.raises(UserError, match=rf"{name}: its gradient is zero, so there is no first"):
        initialize_lora_sb(model, gradients | {name: torch.zeros(16, 24)}, ETA)
    first = next(iter(gradients))
    with pytest.raises(UserError, match=rf"{first}: .* \(16, 4\).*\(9, 4\)"):
        initialize_lora_sb(model, gradients | {first: torch.randn(9, 16)}, ETA)
    with pytest.raises(UserError, match=rf"{first}: rank 4: the stored factors allow.*1 to 3"):
        initialize_lora_sb(model, factorize(gradients, 3, step="sign"), ETA)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize("rate", [0.0, -1e-3, math.nan])
def test_a_rate_that_is_not_above_zero_is_refused(rate):
    with pytest.raises(UserError, match="above 0"):
        initialize_lora_sb(adapted(tiny_llama(0)), random_gradients(tiny_llama(0)), rate)


def test_bases_that_would_not_be_stored_are_refused():
    model = adapted(tiny_llama(0), init_weights="weights", save_bases=False)
    with pytest.raises(UserError, match="save_bases=True"):
        initialize_lora_sb(model, random_gradients(tiny_llama(0)), ETA)


@pytest.mark.parametrize(
    ("scheduler", "warmup", "expected"),
    [
        ("linear", 0, 1.0),
        ("linear", 10, 0.1),
        ("cosine", 0, 1.0),
        ("cosine", 1, 1.0),  # step 1 has rate 0, step 2 the full one
        ("cosine", 4, 0.25),
        ("constant", 0, 1.0),
        ("constant_with_warmup", 5, 0.2),
    ],
)
def test_first_rate_above_zero(scheduler, warmup, expected):
    rate = first_learning_rate(scheduler, 3e-3, warmup, 100)
    assert rate == pytest.approx(3e-3 * expected, rel=1e-12)


def test_no_rate_above_zero_and_unknown_schedulers_are_refused():
    with pytest.raises(UserError, match="none of the 1 steps"):
        first_learning_rate("linear", 1e-3, 1, 1)
    with pytest.raises(UserError, match="scheduler 'cosinus'"):
        first_learning_rate("cosinus", 1e-3, 0, 10)


def test_a_trained_or_loaded_adapter_is_started_anew_only_if_asked(tmp_path):
    gradients = random_gradients(tiny_llama(0))
    ids = torch.tensor([[4, 9, 2, 7, 30, 11]])
    for init in ("weights", "empty"):
        model = adapted(tiny_llama(0), init_weights=init)
        for eta in (ETA, 2 * ETA):  # nothing is lost in between
            initialize_lora_sb(model, gradients, eta)
        train(model, {"input_ids": ids, "labels": ids}, steps=1)
        model.save_pretrained(tmp_path)
        loaded = peft.PeftModel.from_pretrained(tiny_llama(0), tmp_path)
        for full in (model, loaded):
            before = copy.deepcopy(full.state_dict())
            with pytest.raises(UserError, match=r"'default' has been trained or loaded.*overwrite"):
                initialize_lora_sb(full, gradients, ETA)
            assert all(torch.equal(v, before[key]) for key, v in full.state_dict().items())
            initialize_lora_sb(full, gradients, ETA, overwrite=True)
            fresh = adapted(tiny_llama(0))
            initialize_lora_sb(fresh, gradients, ETA)
            assert all(torch.equal(v, full.state_dict()[k]) for k, v in fresh.state_dict().items())


def test_a_started_lora_xs_that_has_been_trained_is_not_overwritten():
    model = adapted(tiny_llama(0), init_weights="weights")
    ids = torch.tensor([[4, 9, 2, 7, 30, 11]])
    train(model, {"input_ids": ids, "labels": ids}, steps=1)
    with pytest.raises(UserError, match="has been trained or loaded"):
        initialize_lora_sb(model, random_gradients(tiny_llama(0)), ETA)


def test_a_compiled_model_is_filled():
    gradients = random_gradients(tiny_llama(0))
    models = [adapted(tiny_llama(0)), torch.compile(adapted(tiny_llama(0)))]
    models.append(adapted(torch.compile(tiny_llama(0))))
    for model in models:
        initialize_lora_sb(model, gradients, ETA)
    for model in models[1:]:
        found = {name.replace("_orig_mod.", ""): v for name, v in model.state_dict().items()}
        assert all(torch.equal(found[name], v) for name, v in models[0].state_dict().items())


@pytest.mark.parametrize(
    "options",
    [
        {"exclude_modules": ["0.self_attn.q_proj"]},
        {"layers_to_transform": [1]},
        {"exclude_modules": r".*down_proj"},
    ],
)
def test_gradients_of_excluded_layers_are_not_needed_and_do_no_harm(options):
    gradients = random_gradients(tiny_llama(0))
    model = adapted(tiny_llama(0), **options)
    initialize_lora_sb(model, gradients, ETA)
    found = layers(model)
    assert 0 < len(found) < len(gradients)
    needed = adapted(tiny_llama(0), **options)
    initialize_lora_sb(needed, {name: gradients[name] for name in found}, ETA)
    states = model.state_dict(), needed.state_dict()
    assert all(torch.equal(states[0][name], value) for name, value in states[1].items())


def test_factors_are_not_changed():
    factors = factorize(random_gradients(tiny_llama(0)), RANK, step="sign")
    kept: dict[str, Factors] = copy.deepcopy(factors)
    initialize_lora_sb(adapted(tiny_llama(0), scaling=2.0), factors, ETA)
    assert all(torch.equal(factors[name].S, kept[name].S) for name in kept)


def test_a_model_whose_weights_are_elsewhere_is_refused():
    with torch.device("meta"):
        model = adapted(type(tiny_llama(0))(tiny_llama(0).config))
    with pytest.raises(UserError, match="its weight is not in memory, and neither is its adapter"):
        initialize_lora_sb(model, {}, 1e-3)
