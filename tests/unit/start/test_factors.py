"""Factors of many matrices: which matrix is decomposed, and what a file keeps."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file, save_file

from lorasb.errors import UserError
from lorasb.linalg.svd import Factors, one_pass_svd, truncated_svd
from lorasb.start.factors import factorize, load_factors, save_factors


def matrices() -> dict[str, torch.Tensor]:
    random = torch.Generator().manual_seed(0)
    shapes = {"layers.0.q_proj": (8, 12), "layers.1.down_proj": (12, 6)}
    # entries from 1e-9 to 1: some are below AdamW's epsilon
    return {
        name: torch.randn(shape, generator=random)
        * 10 ** -torch.randint(0, 10, shape, generator=random).float()
        for name, shape in shapes.items()
    }


def same(left: Factors, right: Factors) -> bool:
    tensors = zip((left.U, left.S, left.V), (right.U, right.S, right.V), strict=True)
    return all(torch.equal(a, b) for a, b in tensors)


def test_sign_step_decomposes_the_sign():
    for name, factors in factorize(matrices(), 6, step="sign").items():
        product = factors.U @ torch.diag(factors.S) @ factors.V.T
        best = truncated_svd(matrices()[name].sign(), 6)
        assert same(factors, best)
        if min(matrices()[name].shape) == 6:
            # full rank: the product is the sign itself, up to float32
            torch.testing.assert_close(product, matrices()[name].sign(), rtol=0, atol=1e-5)


def test_adam_step_is_the_first_step_of_adamw():
    gradients = {"w": matrices()["layers.1.down_proj"]}
    weight = torch.zeros(12, 6, requires_grad=True)
    weight.grad = gradients["w"].clone()
    torch.optim.AdamW([weight], lr=1.0, weight_decay=0.0).step()
    factors = factorize(gradients, 6, step="adam")["w"]
    product = factors.U @ torch.diag(factors.S) @ factors.V.T
    # float32 SVD of entries up to 1
    torch.testing.assert_close(-product, weight.detach(), rtol=0, atol=1e-5)
    assert not torch.allclose(product, gradients["w"].sign(), atol=1e-2)


def test_no_step_decomposes_the_matrix():
    for name, factors in factorize(matrices(), 3, step="none").items():
        assert same(factors, truncated_svd(matrices()[name], 3))


def test_one_pass_decomposes_the_same_step():
    for name, factors in factorize(matrices(), 3, step="sign", svd="one-pass").items():
        assert factors.rank == 3
        # bfloat16 vectors that are those of the sign: nearly all of their own length
        share = (factors.U.T @ matrices()[name].sign() @ factors.V).diag() / factors.S
        torch.testing.assert_close(share, torch.ones(3), rtol=0, atol=2**-6)
    one = {"w": matrices()["layers.0.q_proj"]}
    assert same(
        factorize(one, 3, step="sign", svd="one-pass")["w"], one_pass_svd(one["w"].sign(), 3)
    )


def test_generator_drives_the_randomized_svd():
    large = {"w": torch.randn(1030, 1026, generator=torch.Generator().manual_seed(1))}

    def left(seed: int) -> torch.Tensor:
        return factorize(large, 2, step="sign", generator=torch.Generator().manual_seed(seed))[
            "w"
        ].U

    assert torch.equal(left(3), left(3))
    assert not torch.equal(left(3), left(4))


def test_errors_name_the_matrix():
    broken = matrices()
    broken["layers.1.down_proj"][0, 0] = float("nan")
    with pytest.raises(UserError, match=r"layers\.1\.down_proj: .*not finite"):
        factorize(broken, 2, step="sign")
    with pytest.raises(UserError, match=r"layers\.1\.down_proj: rank 7"):
        factorize(matrices(), 7, step="none")
    with pytest.raises(UserError, match="sign, adam, none"):
        factorize(matrices(), 2, step="signs")
    with pytest.raises(UserError, match="svd 'exact': unknown; known: converged, one-pass"):
        factorize(matrices(), 2, step="sign", svd="exact")


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.float8_e4m3fn])
def test_codes_of_quantised_weights_are_refused(dtype):
    codes = {name: matrix.to(dtype) for name, matrix in matrices().items()}
    with pytest.raises(
        UserError, match=r"layers\.0\.q_proj: a torch.* matrix has no SVD; is it a qu"
    ):
        factorize(codes, 2, step="none")


def test_a_file_keeps_the_factors_and_gives_smaller_ranks(tmp_path):
    path = tmp_path / "factors.safetensors"
    stored = factorize(matrices(), 5, step="sign")
    save_factors(stored, path)
    for rank in (5, 2):
        loaded = load_factors(path, rank)
        assert loaded.keys() == stored.keys()
        for name, factors in loaded.items():
            assert same(factors, stored[name].truncate(rank))
            assert factors.residual == stored[name].truncate(rank).residual


def test_same_factors_same_bytes(tmp_path):
    for name in ("a", "b"):
        save_factors(factorize(matrices(), 4, step="sign"), tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_unusable_files_are_one_line(tmp_path):
    path = tmp_path / "factors.safetensors"
    with pytest.raises(UserError, match=r"factors\.safetensors: no such file"):
        load_factors(path, 1)
    save_factors(factorize(matrices(), 3, step="sign"), path)
    with pytest.raises(UserError, match=r"factors\.safetensors: rank 4: .*1 to 3"):
        load_factors(path, 4)
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(UserError, match=r"factors\.safetensors: cut short"):
        load_factors(path, 3)


DAMAGES = {
    "U doubled": lambda tensors: tensors["w/U"].mul_(2),
    "V doubled": lambda tensors: tensors["w/V"].mul_(2),
    "a column of U twice": lambda tensors: tensors["w/U"][:, 0].copy_(tensors["w/U"][:, 1]),
    "zeros": lambda tensors: [tensor.zero_() for tensor in tensors.values()],
    "S negative": lambda tensors: tensors["w/S"].neg_(),
    "S ascending": lambda tensors: tensors["w/S"].copy_(tensors["w/S"].flip(0)),
    "S zero": lambda tensors: tensors["w/S"].zero_(),
    "NaN in U": lambda tensors: tensors["w/U"][0].fill_(torch.nan),
    "infinity in S": lambda tensors: tensors["w/S"][0].fill_(torch.inf),
    "no V": lambda tensors: tensors.pop("w/V"),
    "no residual": lambda tensors: tensors.pop("w/residual"),
    "another tensor": lambda tensors: tensors.update(other=tensors["w/S"].clone()),
    "V of another rank": lambda tensors: tensors.update(
        {"w/V": tensors["w/V"][:, :1].contiguous()}
    ),
    "nothing": lambda tensors: tensors.clear(),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_no_truncated_svd_is_refused(tmp_path, damage):
    path = tmp_path / "factors.safetensors"
    save_factors(factorize({"w": matrices()["layers.1.down_proj"]}, 3, step="sign"), path)
    tensors = load_file(path)
    DAMAGES[damage](tensors)
    save_file(tensors, path)
    with pytest.raises(UserError, match=str(path)) as caught:
        load_factors(path, 3)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("svd", ["converged", "one-pass"])
@pytest.mark.parametrize("step", ["sign", "adam", "none"])
def test_all_that_is_made_is_read(tmp_path, step, svd):
    random = torch.Generator().manual_seed(1)
    given = matrices() | {
        "large": torch.randn(300, 200, generator=random),
        "rank 1": torch.outer(torch.randn(40, generator=random), torch.ones(30)),
    }
    save_factors(factorize(given, 6, step=step, svd=svd), tmp_path / "f.safetensors")
    assert load_factors(tmp_path / "f.safetensors", 6).keys() == given.keys()
