"""Two processes train as one does, and frozen bases travel once."""

from __future__ import annotations

import os
import pickle
import socket
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import peft
import pytest
import torch
import torch.distributed as dist
from accelerate import Accelerator
from torch import Tensor, multiprocessing, nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from lorasb.errors import UserError
from lorasb.tuner import LoraXSConfig
from tests.unit.tiny import LLAMA_TARGETS, sequences, tiny_llama

IDS = torch.stack(sequences(0, [8, 8, 8, 8]))
STEPS = 3


def adapted(seed: int = 0) -> peft.PeftModel:
    """As each process makes it; bases of another seed stand for those of another machine."""
    model = peft.get_peft_model(tiny_llama(0), LoraXSConfig(r=4, target_modules=LLAMA_TARGETS))
    if seed:
        for name, basis in model.named_buffers():
            if "lora_xs_" in name:
                basis.neg_()
    return model.train()


def fit(model: nn.Module, ids: Tensor, backward: Callable[[Tensor], None]) -> None:
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], 0.1)
    for _ in range(STEPS):
        backward(model(input_ids=ids, labels=ids).loss)
        optimizer.step()
        optimizer.zero_grad()


def by_ddp(rank: int, folder: Path) -> None:
    accelerator = Accelerator(cpu=True)
    model = accelerator.prepare(adapted(seed=rank))
    sent = []
    broadcast = dist._broadcast_coalesced

    def counted(group: object, tensors: list[Tensor], *rest: object) -> None:
        sent.extend(tensor.shape for tensor in tensors)
        broadcast(group, tensors, *rest)

    dist._broadcast_coalesced = counted
    fit(model, IDS.chunk(2)[rank], accelerator.backward)
    assert set(sent) == {torch.Size([2])}, "frequencies of positions alone, which the model keeps"
    inner = accelerator.unwrap_model(model)
    inner.save_pretrained(folder, is_main_process=accelerator.is_main_process)


def by_fsdp2(rank: int, folder: Path) -> None:
    dist.init_process_group("gloo")
    model = adapted()
    mesh = init_device_mesh("cpu", (2,))
    for layer in model.base_model.model.model.layers:
        fully_shard(layer, mesh=mesh)
    fully_shard(model, mesh=mesh)
    fit(model, IDS.chunk(2)[rank], lambda loss: loss.backward())
    options = StateDictOptions(full_state_dict=True, cpu_offload=True)
    whole = get_model_state_dict(model, options=options)
    if rank == 0:
        model.save_pretrained(folder, state_dict=whole)


ZERO3 = {
    "train_micro_batch_size_per_gpu": 2,
    "zero_optimization": {"stage": 3, "stage3_param_persistence_threshold": 0},
    "zero_allow_untested_optimizer": True,
}


def by_zero3(rank: int, folder: Path) -> None:
    import deepspeed

    deepspeed.init_distributed(dist_backend="gloo")
    model = adapted()
    matrices = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(matrices, 0.1)
    engine, *_ = deepspeed.initialize(model=model, optimizer=optimizer, config=ZERO3)
    ids = IDS.chunk(2)[rank]
    for _ in range(STEPS):
        engine.backward(engine(input_ids=ids, labels=ids).loss)
        engine.step()
    with pytest.raises(UserError, match=r"R\.default: of shape \(0,\), as DeepSpeed splits"):
        model.save_pretrained(folder)
    with deepspeed.zero.GatheredParameters(matrices):
        if rank == 0:
            model.save_pretrained(folder)


needs_deepspeed = pytest.mark.skipif(find_spec("deepspeed") is None, reason="needs deepspeed")


def process(
    rank: int, port: int, train: Callable[[int, Path], None], folder: Path
) -> None:  # pragma: no cover
    torch.set_num_threads(1)
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2"}
    train(rank, folder)
    dist.barrier()
    dist.destroy_process_group()


@pytest.mark.parametrize(
    "train", [by_ddp, by_fsdp2, pytest.param(by_zero3, marks=[needs_deepspeed, pytest.mark.slow])]
)
def test_two_processes_train_as_one(train, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    multiprocessing.spawn(process, (port, train, tmp_path), nprocs=2)
    alone = adapted()
    fit(alone, IDS, lambda loss: loss.backward())
    loaded = peft.PeftModel.from_pretrained(tiny_llama(0), tmp_path)
    for (name, value), other in zip(
        peft.get_peft_model_state_dict(loaded).items(),
        peft.get_peft_model_state_dict(alone).values(),
        strict=True,
    ):
        # the mean of two gradients of half the rows, in float32
        torch.testing.assert_close(value, other, atol=1e-6, rtol=1e-4, msg=name)
    moved = max(v.abs().max() for k, v in alone.named_parameters() if v.requires_grad)
    assert moved > 1e-3


def test_an_adapted_model_is_pickled_and_keeps_what_others_leave_alone():
    base = tiny_llama(0)
    base._ddp_params_and_buffers_to_ignore = ["mine"]
    config = LoraXSConfig(r=4, target_modules=LLAMA_TARGETS)
    model = pickle.loads(pickle.dumps(peft.get_peft_model(base, config)))
    assert model._ddp_params_and_buffers_to_ignore.others == ["mine"]
