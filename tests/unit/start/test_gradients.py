"""The gradient estimate against one backward pass for each sample, written out in float64."""

from __future__ import annotations

from collections.abc import Iterator

import peft
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from transformers import PreTrainedModel

from lorasb.errors import UserError
from lorasb.models.layers import matching_modules, oriented_weight
from lorasb.start.gradients import estimate_gradients, load_gradients, save_gradients
from lorasb.tuner import LoraXSConfig
from tests.unit.start.test_losses import KINDS
from tests.unit.tiny import (
    BERT_TARGETS,
    GPT2_TARGETS,
    LLAMA_TARGETS,
    sequences,
    tiny_bert,
    tiny_gpt2,
    tiny_llama,
)

LENGTHS = [5, 11, 3, 8, 6]
PROMPTS = [2, 3, 1, 6, 1]  # tokens without a label: the targets have 3, 8, 2, 2 and 5 tokens

Batch = dict[str, Tensor]


def batches(size: int, labels: Tensor | None = None) -> list[Batch]:
    """Padded batches; `labels` for a classifier, otherwise the tokens after the prompts."""
    made = []
    rows = sequences(1, LENGTHS)
    for start in range(0, len(rows), size):
        chunk = rows[start : start + size]
        pad = torch.nn.utils.rnn.pad_sequence
        ids = pad(chunk, batch_first=True)
        batch = {"input_ids": ids, "attention_mask": (ids != 0).long()}
        if labels is None:
            targets = [row.clone() for row in chunk]
            for target, prompt in zip(targets, PROMPTS[start : start + size], strict=True):
                target[:prompt] = -100
            batch["labels"] = pad(targets, batch_first=True, padding_value=-100)
        else:
            batch["labels"] = labels[start : start + size]
        made.append(batch)
    return made


def own_gradient(model: PreTrainedModel, loss: Tensor, targets: list[str]) -> dict[str, Tensor]:
    modules = matching_modules(model, targets)
    found = torch.autograd.grad(loss, [module.weight for module in modules.values()])
    return dict(zip(modules, found, strict=True))


def token_losses(model: PreTrainedModel, row: Tensor, prompt: int) -> Tensor:
    """-log p of each target token of one sequence, without padding."""
    log_p = model(input_ids=row[None]).logits[0].log_softmax(-1)
    return torch.stack([-log_p[t - 1, row[t]] for t in range(max(prompt, 1), len(row))])


def add(sums: dict[str, Tensor], gradient: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: sums.get(name, 0) + value for name, value in gradient.items()}


def assert_same(estimate: dict[str, Tensor], reference: dict[str, Tensor]) -> None:
    assert estimate.keys() == reference.keys()
    for name, value in reference.items():
        assert estimate[name].dtype == torch.float32
        # float32 against float64: about 100 roundings of 6e-8 on the way, relative to the largest
        tolerance = 1e-5 * value.abs().max().item()
        torch.testing.assert_close(estimate[name].double(), value, rtol=0, atol=tolerance)


@pytest.mark.parametrize("size", [1, 2, 5])
def test_sum_of_the_samples_own_gradients_for_any_batch_size(size):
    twin = tiny_llama(0).double()
    expected: dict[str, Tensor] = {}
    for row, prompt in zip(sequences(1, LENGTHS), PROMPTS, strict=True):
        loss = token_losses(twin, row, prompt).mean()
        expected = add(expected, own_gradient(twin, loss, LLAMA_TARGETS))
    estimate = estimate_gradients(
        tiny_llama(0), batches(size), target_modules=LLAMA_TARGETS, num_samples=5
    )
    assert_same(estimate, expected)


def test_batch_mean_weighs_tokens_as_the_authors_code_does():
    twin = tiny_llama(0).double()
    rows, expected = sequences(1, LENGTHS), {}
    for batch in ([0, 1], [2, 3], [4]):
        losses = torch.cat([token_losses(twin, rows[i], PROMPTS[i]) for i in batch])
        loss = losses.mean() / len(batch)
        expected = add(expected, own_gradient(twin, loss, LLAMA_TARGETS))
    arguments = {"target_modules": LLAMA_TARGETS, "num_samples": 5}
    estimate = estimate_gradients(tiny_llama(0), batches(2), reduction="batch-mean", **arguments)
    assert_same(estimate, expected)
    other = estimate_gradients(tiny_llama(0), batches(2), **arguments)
    signs = torch.cat([(other[n].sign() == estimate[n].sign()).flatten() for n in other])
    assert signs.float().mean() < 0.95


@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize("num_labels", [1, 3])
def test_classification_and_regression(num_labels, size):
    labels = torch.tensor([0.5, 3.0, 0.0, 5.0, 2.5] if num_labels == 1 else [0, 2, 1, 1, 0])
    twin = tiny_bert(0, num_labels).double()
    expected: dict[str, Tensor] = {}
    for row, label in zip(sequences(1, LENGTHS), labels, strict=True):
        logits = twin(input_ids=row[None]).logits[0]
        loss = (logits[0] - label) ** 2 if num_labels == 1 else -logits.log_softmax(-1)[label]
        expected = add(expected, own_gradient(twin, loss, BERT_TARGETS))
    estimate = estimate_gradients(
        tiny_bert(0, num_labels), batches(size, labels), target_modules=BERT_TARGETS, num_samples=5
    )
    assert_same(estimate, expected)


def test_gradients_of_conv1d_are_out_by_in():
    model = tiny_gpt2(0)
    twin = tiny_gpt2(0).double()
    expected: dict[str, Tensor] = {}
    for row, prompt in zip(sequences(1, LENGTHS), PROMPTS, strict=True):
        loss = token_losses(twin, row, prompt).mean()
        expected = add(expected, own_gradient(twin, loss, GPT2_TARGETS))
    estimate = estimate_gradients(model, batches(2), target_modules=GPT2_TARGETS, num_samples=5)
    assert_same(estimate, {name: value.T for name, value in expected.items()})
    for name, module in matching_modules(model, GPT2_TARGETS).items():
        assert estimate[name].shape == oriented_weight(module).shape


def test_first_samples_are_taken_also_from_the_middle_of_a_batch():
    arguments = {"target_modules": LLAMA_TARGETS, "num_samples": 3}
    cut = estimate_gradients(tiny_llama(0), batches(5), **arguments)
    whole = estimate_gradients(tiny_llama(0), batches(3), **arguments)
    for name in cut:
        # the same rows, padded to another length
        torch.testing.assert_close(cut[name], whole[name], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("dropout", [False, True])
def test_memory_limit_costs_passes_and_changes_no_bit(dropout):
    labels = torch.tensor([0, 1, 1, 0, 1])
    model, forwards = tiny_bert(0), []
    model.register_forward_hook(lambda *_: forwards.append(1))

    def estimate(limit: int | None) -> dict[str, Tensor]:
        return estimate_gradients(
            model,
            batches(2, labels),
            target_modules=BERT_TARGETS,
            num_samples=5,
            memory_limit_bytes=limit,
            dropout=dropout,
        )

    once = estimate(None)
    assert len(forwards) == 3
    forwards.clear()
    # 16 x 24 weights need 1536 bytes, 16 x 16 ones 1024: q and attention output together, then the
    # output, in each of two layers
    limited = estimate(2048)
    assert len(forwards) == 4 * 3
    assert all(torch.equal(once[name], limited[name]) for name in once)


def test_a_shuffling_loader_is_read_once():
    rows = [{key: value[0] for key, value in batch.items()} for batch in batches(1)]
    rows = [row for row in rows if len(row["labels"]) == 5] + [
        {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": ids}
        for ids in sequences(9, [5] * 7)
    ]
    loader = torch.utils.data.DataLoader(
        rows, batch_size=2, shuffle=True, generator=torch.Generator().manual_seed(3)
    )
    arguments = {"target_modules": LLAMA_TARGETS, "num_samples": 4}
    many = estimate_gradients(tiny_llama(0), loader, memory_limit_bytes=1536, **arguments)
    loader.generator.manual_seed(3)
    once = estimate_gradients(tiny_llama(0), loader, **arguments)
    assert all(torch.equal(once[name], many[name]) for name in once)


def test_dropout_is_off_unless_asked_for():
    labels = torch.tensor([0, 1, 1, 0, 1])
    results = [
        estimate_gradients(
            tiny_bert(0, dropout=rate).train(),
            batches(5, labels),
            target_modules=BERT_TARGETS,
            num_samples=5,
            dropout=dropout,
        )
        for rate, dropout in ((0.0, False), (0.5, False), (0.5, True))
    ]
    name = next(iter(results[0]))
    assert torch.equal(results[0][name], results[1][name])
    assert not torch.allclose(results[0][name], results[2][name])


@pytest.mark.parametrize("fails", [False, True])
def test_the_model_is_left_as_it_was(fails):
    model = tiny_bert(0).train()
    model.bert.encoder.layer[0].eval()
    for index, parameter in enumerate(model.parameters()):
        parameter.requires_grad_(index % 3 > 0)
        if index % 2:
            parameter.grad = torch.full_like(parameter, 0.5)
    before = {name: value.clone() for name, value in model.state_dict().items()}

    def state() -> dict[str, object]:
        return {
            "modes": [module.training for module in model.modules()],
            "trainable": [parameter.requires_grad for parameter in model.parameters()],
            "gradients": [parameter.grad for parameter in model.parameters()],
            "hooks": [
                bool(parameter._post_accumulate_grad_hooks) for parameter in model.parameters()
            ],
            "random": torch.random.get_rng_state().tolist(),
        }

    old = state()
    labels = torch.tensor([0, 1, 1, 0, 1])
    loader = torch.utils.data.DataLoader(
        [{key: value[0] for key, value in batch.items()} for batch in batches(1, labels)],
        shuffle=True,
    )
    arguments = {"target_modules": BERT_TARGETS, "num_samples": 5, "dropout": True}
    with torch.no_grad():
        if fails:
            broken = batches(4, labels)
            broken[1]["labels"] = torch.tensor([7])  # there are two classes
            with pytest.raises(IndexError):
                estimate_gradients(model, broken, **arguments)
        else:
            estimate_gradients(model, loader, **arguments)
    new = state()
    for old_gradient, new_gradient in zip(old.pop("gradients"), new.pop("gradients"), strict=True):
        assert old_gradient is new_gradient
        assert old_gradient is None or (old_gradient == 0.5).all()
    assert old == new
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_low_precision_models_are_summed_in_float32():
    model = tiny_llama(0).bfloat16()
    single = [
        estimate_gradients(model, [batch], target_modules=["q_proj"], num_samples=1)
        for batch in batches(1)
    ]
    total = estimate_gradients(model, batches(1), target_modules=["q_proj"], num_samples=5)
    for name, value in total.items():
        assert value.dtype == torch.float32
        assert torch.equal(value, sum(part[name] for part in single))


def failing(model: PreTrainedModel, data: list[Batch], match: str, **changes: object) -> None:
    arguments = {"target_modules": LLAMA_TARGETS, "num_samples": 5} | changes
    with pytest.raises(UserError, match=match):
        estimate_gradients(model, data, **arguments)


def test_bad_input_is_one_line():
    failing(tiny_llama(0), batches(2), "num_samples 6: the dataloader has only 5", num_samples=6)
    failing(tiny_llama(0), batches(2), "at least 1", num_samples=0)
    failing(tiny_llama(0), batches(2), "'nothing' matches no", target_modules=["nothing"])
    # mlp.down_proj is 16 x 24
    failing(tiny_llama(0), batches(2), "down_proj alone needs 1536", memory_limit_bytes=1535)
    unlabelled = [{key: value for key, value in batches(5)[0].items() if key != "labels"}]
    failing(tiny_llama(0), unlabelled, "returns no loss for batches of input_ids, attention_mask")
    cut = batches(5)
    cut[0]["labels"][2] = -100
    failing(tiny_llama(0), cut, "a sample has no label token")


def test_values_that_are_not_finite_name_what_is_wrong():
    broken = tiny_llama(0)
    broken.model.norm.weight.data[0] = float("nan")
    failing(broken, batches(5), "the loss is nan")
    # the loss is finite, the gradient of one weight overflows
    overflowing = tiny_llama(0)
    layer = overflowing.model.layers[1].self_attn.v_proj
    layer.register_full_backward_pre_hook(lambda _, gradient: (gradient[0] * float("inf"),))
    names = [f"layers.1.self_attn.{part}_proj" for part in "qv"]
    match = r"layers\.1\.self_attn\.v_proj is not finite"
    failing(overflowing, batches(5), match, target_modules=names)


def test_a_weight_outside_the_loss_is_refused():
    model = tiny_llama(0)
    model.spare = torch.nn.Linear(3, 2)
    failing(model, batches(5), "does not depend on spare", target_modules=["q_proj", "spare"])
    failing(model, batches(5), "does not depend on spare", target_modules=["spare"])


def test_a_file_keeps_gradients_and_metadata(tmp_path):
    path = tmp_path / "gradient.safetensors"
    gradients = estimate_gradients(
        tiny_gpt2(0), batches(5), target_modules=GPT2_TARGETS, num_samples=5
    )
    save_gradients(gradients, path, {"samples": "5"})
    loaded = load_gradients(path)
    assert loaded.keys() == gradients.keys()
    assert all(torch.equal(loaded[name], gradients[name]) for name in gradients)
    with safe_open(path, "pt") as file:
        assert file.metadata()["samples"] == "5"
    save_gradients({"w": torch.ones(2, 3, dtype=torch.bfloat16).T}, path)
    assert load_gradients(path)["w"].dtype == torch.float32


def test_unusable_files_are_one_line(tmp_path):
    path = tmp_path / "gradient.safetensors"
    with pytest.raises(UserError, match="no such file"):
        load_gradients(path)
    save_gradients({"w": torch.ones(4, 4)}, path)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UserError, match="cut short"):
        load_gradients(path)


def test_an_iterator_serves_as_dataloader():
    def endless() -> Iterator[Batch]:
        while True:
            yield from batches(2)

    found = estimate_gradients(
        tiny_llama(0), endless(), target_modules=["q_proj"], num_samples=7, memory_limit_bytes=1024
    )
    assert len(found) == 2


def untied(model: PreTrainedModel, output: str) -> PreTrainedModel:
    """The same model in float64, with an output weight of its own."""
    twin = model.double()
    layer = twin.get_submodule(output)
    layer.weight = torch.nn.Parameter(layer.weight.detach().clone())
    return twin


@pytest.mark.parametrize(
    ("kind", "output"),
    [
        ("llama", "lm_head"),
        ("gpt2", "lm_head"),
        ("masked tokens", "cls.predictions.decoder"),
        ("seq2seq with labels", "lm_head"),
    ],
)
def test_a_tied_output_layer_has_the_gradient_of_its_own_use(kind, output):
    causal = {"llama": tiny_llama, "gpt2": tiny_gpt2}
    make, batch = (lambda: causal[kind](0), batches(5)[0]) if kind in causal else KINDS[kind][::2]
    model = make()
    assert model.get_submodule(output).weight is model.get_input_embeddings().weight
    found = estimate_gradients(model, [batch], target_modules=[output], num_samples=5)
    assert model.get_submodule(output).weight is model.get_input_embeddings().weight
    twin = untied(make(), output)
    rows = [{key: value[i : i + 1] for key, value in batch.items()} for i in range(5)]
    loss = torch.stack([twin(**row).loss for row in rows]).sum()
    assert_same(found, own_gradient(twin, loss, [output]))


def test_two_layers_of_one_weight_have_a_gradient_each():
    model = tiny_llama(0)
    first, second = (layer.self_attn for layer in model.model.layers)
    second.q_proj.weight = first.q_proj.weight
    found = estimate_gradients(model, batches(5), target_modules=["q_proj"], num_samples=5)
    twin = tiny_llama(0).double()
    first, second = (layer.self_attn for layer in twin.model.layers)
    second.q_proj.weight.data = first.q_proj.weight.data.clone()
    rows = zip(sequences(1, LENGTHS), PROMPTS, strict=True)
    loss = torch.stack([token_losses(twin, row, prompt).mean() for row, prompt in rows]).sum()
    assert_same(found, own_gradient(twin, loss, ["q_proj"]))


@pytest.mark.parametrize("wrap", [torch.compile, torch.nn.DataParallel])
def test_wrapped_models_are_estimated_as_they_are_inside(wrap):
    arguments = {"target_modules": LLAMA_TARGETS, "num_samples": 5}
    expected = estimate_gradients(tiny_llama(0), batches(5), **arguments)
    found = estimate_gradients(wrap(tiny_llama(0)), batches(5), **arguments)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], value) for name, value in expected.items())


@pytest.mark.parametrize("dropout", [False, True])
def test_gradient_checkpointing_changes_nothing(dropout):
    arguments = {"target_modules": LLAMA_TARGETS, "num_samples": 5, "dropout": dropout}
    expected = estimate_gradients(tiny_llama(0), batches(5), **arguments)
    model = tiny_llama(0)
    model.gradient_checkpointing_enable()
    found = estimate_gradients(model, batches(5), **arguments)
    assert all(torch.equal(found[name], value) for name, value in expected.items())


@pytest.mark.parametrize(
    "config",
    [
        LoraXSConfig(r=2, target_modules=["q_proj"], init_weights="empty"),
        peft.LoraConfig(target_modules=["q_proj"]),
        peft.PromptTuningConfig(num_virtual_tokens=2, task_type="CAUSAL_LM"),
    ],
)
def test_a_model_with_an_adapter_is_refused(config):
    base = tiny_llama(0)
    adapted = peft.get_peft_model(base, config)
    failing(adapted, batches(5), "already has an adapter; estimate on the base model, before")
    if config.peft_type != "PROMPT_TUNING":  # which leaves the base model as it is
        failing(base, batches(5), "already has an adapter")
        estimate_gradients(adapted.unload(), batches(5), target_modules=["q_proj"], num_samples=5)


def test_weights_that_are_nowhere_are_refused():
    model = tiny_llama(0)
    model.model.layers[1].to("meta")
    failing(model, batches(5), r"layers\.1\.self_attn\.q_proj: its weight is on the meta device")


@pytest.mark.parametrize(
    ("stored", "message"),
    [
        ({}, "no gradient in it"),
        ({"w": torch.zeros(3, 2)}, "the gradient of w is zero"),
        ({"w": torch.full((3, 2), torch.nan)}, "the gradient of w is not finite"),
        ({"w": torch.ones(3)}, "the gradient of w is no matrix"),
    ],
)
def test_what_is_no_gradient_is_refused(tmp_path, stored, message):
    save_file(stored, tmp_path / "gradient.safetensors")
    with pytest.raises(UserError, match=message):
        load_gradients(tmp_path / "gradient.safetensors")
