import torch

from lorasb.seeding import derive_seed, generator


def test_purposes_and_seeds_give_different_streams():
    seeds = {derive_seed(seed, name) for seed in range(50) for name in ("data", "head", "svd")}
    assert len(seeds) == 150


def test_same_name_gives_the_same_stream():
    first = torch.rand(5, generator=generator(3, "data"))
    assert torch.equal(first, torch.rand(5, generator=generator(3, "data")))
