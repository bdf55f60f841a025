from __future__ import annotations

import pytest
import torch

from lorasb.methods.lora_sb import LoraSB
from lorasb.methods.lora_sb_noise import NoisyLoraSB
from lorasb.models.layers import matching_modules
from tests.contract.test_methods import LLAMA_TARGETS, context
from tests.unit.tiny import sequences, tiny_llama


def deltas(method: LoraSB, folder, seed: int = 0) -> list[torch.Tensor]:
    """The updates that a method starts with."""
    model = tiny_llama(0)
    adapted = method.attach(model, context(model, LLAMA_TARGETS, folder, seed=seed))
    return [
        m.get_delta_weight("default").detach() for m in adapted.modules() if hasattr(m, "lora_xs_R")
    ]


def distance(one: list[torch.Tensor], other: list[torch.Tensor]) -> float:
    """Relative to the second."""
    return (
        torch.cat([(a - b).flatten() for a, b in zip(one, other, strict=True)]).norm()
        / torch.cat([b.flatten() for b in other]).norm()
    ).item()


def test_without_noise_the_start_is_lora_sb(tmp_path):
    plain = deltas(LoraSB(), tmp_path)
    assert distance(deltas(NoisyLoraSB(signal=1.0, noise=0.0), tmp_path), plain) < 1e-5  # float32


@pytest.mark.parametrize("method", [LoraSB, lambda **told: NoisyLoraSB(1.0, 0.0, **told)])
def test_the_start_is_an_argument(method, tmp_path):
    plain = deltas(method(scaling=3.0), tmp_path)
    tripled = deltas(method(scaling=3.0, start="undivided"), tmp_path)
    assert distance(tripled, [3.0 * delta for delta in plain]) < 1e-6  # float32


def test_more_noise_is_further_from_lora_sb(tmp_path):
    plain = deltas(LoraSB(), tmp_path)
    apart = [
        distance(deltas(NoisyLoraSB(1.0, noise), tmp_path), plain) for noise in (0.1, 1.0, 10.0)
    ]
    assert apart == sorted(apart)
    assert apart[0] < 0.5
    assert apart[2] > 1.0


def test_random_bases_have_the_size_of_a_step_and_depend_on_the_seed(tmp_path):
    plain = deltas(LoraSB(), tmp_path)
    drawn = deltas(NoisyLoraSB(signal=0.0, noise=1.0), tmp_path)
    sizes = [delta.norm().item() for delta in drawn]
    # entries of variance 1 like those of a sign matrix; 4 of at least 8 directions
    assert sizes == pytest.approx([delta.norm().item() for delta in plain], rel=0.3)
    assert distance(deltas(NoisyLoraSB(0.0, 1.0), tmp_path), drawn) == 0.0
    assert distance(deltas(NoisyLoraSB(0.0, 1.0), tmp_path, seed=1), drawn) > 0.5


def trained(method: LoraSB, folder) -> list[torch.Tensor]:
    """The updates after a few steps of the method's own optimizer, in float64."""
    model = tiny_llama(0)
    adapted = method.attach(model, context(model, LLAMA_TARGETS, folder)).double()
    optimizer = method.optimizer(adapted, learning_rate=0.02, weight_decay=0.0)
    ids = torch.stack(sequences(1, [12] * 4))
    for _ in range(5):
        adapted(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return [
        m.get_delta_weight("default").detach() for m in adapted.modules() if hasattr(m, "lora_xs_R")
    ]


def test_s_drops_out_of_gradient_descent_and_not_of_adamw(tmp_path):
    at_one = trained(LoraSB(optimizer="sgd"), tmp_path)
    assert distance(at_one, deltas(LoraSB(), tmp_path)) > 0.1  # it moves
    for scaling in (0.25, 4.0):
        # float64, but bases and start are rounded to float32
        assert distance(trained(LoraSB(optimizer="sgd", scaling=scaling), tmp_path), at_one) < 1e-6
        adam = distance(trained(LoraSB(scaling=scaling), tmp_path), trained(LoraSB(), tmp_path))
        assert adam > 0.1


def test_the_perturbed_step_is_decomposed_as_the_settings_say(tmp_path):
    def bases(svd: str) -> torch.Tensor:
        model = tiny_llama(0)
        told = context(model, LLAMA_TARGETS, tmp_path, svd=svd)
        adapted = NoisyLoraSB(signal=1.0, noise=1.0).attach(model, told)
        layers = [m for m in adapted.modules() if hasattr(m, "lora_xs_B")]
        return torch.cat([m.lora_xs_B["default"].detach().flatten() for m in layers])

    rounded = bases("one-pass")
    assert torch.equal(rounded, rounded.bfloat16().float())
    assert not torch.equal(bases("converged"), bases("converged").bfloat16().float())


def test_the_start_from_the_gradient_is_its_best_form_of_that_rank(tmp_path):
    """-eta sqrt(m n) g / |g|, cut to the rank; as the twin has it in float64."""
    from safetensors.torch import load_file

    from lorasb.methods.lora_sb_gradient import GradientLoraSB

    found = deltas(GradientLoraSB(scaling=2.0), tmp_path)
    gradients = load_file(tmp_path / "gradient.safetensors")
    for name, delta in zip(matching_modules(tiny_llama(0), LLAMA_TARGETS), found, strict=True):
        gradient = gradients[name]
        step = -1e-3 * gradient.double() * gradient.numel() ** 0.5 / gradient.double().norm()
        U, S, V = torch.linalg.svd(step)
        expected = U[:, :4] * S[:4] @ V[:4]
        assert (delta - expected).norm() < 1e-5 * expected.norm()  # float32


def test_the_start_from_a_gradient_does_not_depend_on_its_size(tmp_path):
    from lorasb.methods.lora_sb_gradient import GradientLoraSB
    from lorasb.start.gradients import load_gradients, save_gradients

    model = tiny_llama(0)
    told = context(model, LLAMA_TARGETS, tmp_path)
    path = told.inputs["gradient"]
    save_gradients({n: 1000 * g for n, g in load_gradients(path).items()}, path)
    adapted = GradientLoraSB().attach(model, told)
    large = [
        m.get_delta_weight("default").detach() for m in adapted.modules() if hasattr(m, "lora_xs_R")
    ]
    assert distance(large, deltas(GradientLoraSB(), tmp_path)) < 1e-5  # float32
