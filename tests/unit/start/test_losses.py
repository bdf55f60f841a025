"""The estimate takes the gradient of the model's own loss, whatever the model is trained for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor
from transformers import PreTrainedModel

from lorasb.errors import UserError
from lorasb.models.layers import matching_modules
from lorasb.start.gradients import batch_loss, estimate_gradients
from tests.unit.tiny import sequences, tiny_bert, tiny_llama

LENGTHS = [5, 11, 3, 8, 6]
WIDTH = max(LENGTHS)
SIZES: dict[str, Any] = {
    "vocab_size": 40,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "max_position_embeddings": 32,
    "initializer_range": 0.2,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
}

Batch = dict[str, Tensor]


def random() -> torch.Generator:
    return torch.Generator().manual_seed(3)


def padded() -> Batch:
    ids = torch.nn.utils.rnn.pad_sequence(sequences(1, LENGTHS), batch_first=True)
    return {"input_ids": ids, "attention_mask": (ids != 0).long()}


def token_labels(classes: int, share: float = 0.5) -> Tensor:
    """Labels of some tokens of each row, its first one among them."""
    labels = torch.randint(0, classes, (5, WIDTH), generator=random())
    labelled = torch.rand(labels.shape, generator=random()) < share
    labelled[:, 0] = True
    return labels.masked_fill(~labelled | (padded()["attention_mask"] == 0), -100)


def built(name: str, **options: Any) -> PreTrainedModel:
    kind = getattr(transformers, name)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return kind(kind.config_class(**options)).eval()


def bert(name: str, **options: Any) -> PreTrainedModel:
    return built(f"BertFor{name}", **SIZES, **options)


def t5() -> PreTrainedModel:
    return built(
        "T5ForConditionalGeneration",
        **{"vocab_size": 40, "d_model": 16, "d_kv": 8, "d_ff": 24, "num_layers": 1},
        **{"num_heads": 2, "dropout_rate": 0.0, "decoder_start_token_id": 0},
    )


def bart() -> PreTrainedModel:
    return built(
        "BartForConditionalGeneration",
        **{"vocab_size": 40, "d_model": 16, "encoder_layers": 1, "decoder_layers": 1},
        **{"encoder_attention_heads": 2, "decoder_attention_heads": 2, "encoder_ffn_dim": 24},
        **{"decoder_ffn_dim": 24, "dropout": 0.0, "init_std": 0.2, "max_position_embeddings": 32},
    )


def mixtral() -> PreTrainedModel:
    sizes = {key: value for key, value in SIZES.items() if "dropout" not in key}
    # the grouped kernel of experts has no float64
    return built(
        "MixtralForCausalLM",
        **sizes,
        experts_implementation="eager",
        **{"num_key_value_heads": 1, "num_local_experts": 4, "num_experts_per_tok": 2},
        **{"output_router_logits": True, "router_aux_loss_coef": 0.5, "bos_token_id": None},
        eos_token_id=None,
    )


def smoothed() -> PreTrainedModel:
    model = tiny_llama(0)

    def loss(logits: Tensor, labels: Tensor, **_: Any) -> Tensor:
        logits, labels = logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten()
        return torch.nn.functional.cross_entropy(logits, labels, label_smoothing=0.1)

    model.loss_function = loss
    return model


def summing() -> PreTrainedModel:
    model = tiny_llama(0)

    def loss(logits: Tensor, labels: Tensor, **_: Any) -> Tensor:
        logits, labels = logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten()
        return torch.nn.functional.cross_entropy(logits, labels, reduction="sum")

    model.loss_function = loss
    return model


def several_choices() -> Batch:
    ids = torch.randint(1, 40, (5, 3, 6), generator=random())
    return {"input_ids": ids, "labels": torch.tensor([0, 2, 1, 1, 0])}


TARGET = torch.nn.utils.rnn.pad_sequence(sequences(8, [4, 2, 6, 3, 5]), True, -100)
CLASSES = torch.tensor([0, 2, 1, 1, 0])
VALUES = torch.tensor([0.5, 3.0, 0.0, 5.0, 2.5])
SEVERAL = (torch.rand(5, 3, generator=random()) < 0.5).float()
SIGMOID = {"num_labels": 1, "problem_type": "multi_label_classification"}

KINDS: dict[str, tuple[Callable[[], PreTrainedModel], list[str], Batch]] = {
    "seq2seq with labels": (t5, ["q", "wi"], padded() | {"labels": TARGET}),
    "seq2seq with decoder inputs": (
        t5,
        ["q", "wi"],
        padded() | {"decoder_input_ids": TARGET.clamp(min=0), "labels": TARGET},
    ),
    "seq2seq, as long as its input": (
        bart,
        ["q_proj", "fc1"],
        padded() | {"labels": token_labels(40)},
    ),
    "tokens": (
        lambda: bert("TokenClassification", num_labels=3),
        ["query"],
        padded() | {"labels": token_labels(3)},
    ),
    "masked tokens": (
        lambda: bert("MaskedLM"),
        ["query", "transform.dense"],
        padded() | {"labels": token_labels(40, 0.2)},
    ),
    "several labels": (
        lambda: bert("SequenceClassification", num_labels=3, problem_type=SIGMOID["problem_type"]),
        ["query"],
        padded() | {"labels": SEVERAL},
    ),
    "one sigmoid": (
        lambda: bert("SequenceClassification", **SIGMOID),
        ["query"],
        padded() | {"labels": SEVERAL[:, :1]},
    ),
    "classes as a column": (
        lambda: tiny_bert(0, 3),
        ["query"],
        padded() | {"labels": CLASSES[:, None]},
    ),
    "values as a column": (
        lambda: tiny_bert(0, 1),
        ["query"],
        padded() | {"labels": VALUES[:, None]},
    ),
    "several values": (
        lambda: bert("SequenceClassification", num_labels=3, problem_type="regression"),
        ["query"],
        padded() | {"labels": 3 * SEVERAL},
    ),
    "choices": (lambda: bert("MultipleChoice"), ["query"], several_choices()),
    "spans": (
        lambda: bert("QuestionAnswering"),
        ["query"],
        padded() | {"start_positions": CLASSES, "end_positions": CLASSES + 1},
    ),
    "experts with a loss of their router": (
        mixtral,
        ["q_proj", "o_proj"],
        padded() | {"labels": token_labels(40)},
    ),
    "smoothed labels": (smoothed, ["q_proj"], padded() | {"labels": token_labels(40)}),
    "a sum of tokens": (summing, ["q_proj"], padded() | {"labels": token_labels(40)}),
}


def parts(batch: Batch, size: int) -> list[Batch]:
    return [{k: v[start : start + size] for k, v in batch.items()} for start in range(0, 5, size)]


def unpadded(row: Batch) -> Batch:
    """One sample without its padding, but where the model's own loss looks at that too."""
    if "attention_mask" not in row or "start_positions" in row:
        return row
    length = int(row["attention_mask"].sum())
    return {k: v[:, :length] if v.shape[1:] == (WIDTH,) else v for k, v in row.items()}


def in_double(batch: Batch) -> Batch:
    return {k: v.double() if v.is_floating_point() else v for k, v in batch.items()}


def reference(
    model: PreTrainedModel, targets: list[str], batches: list[Batch]
) -> dict[str, Tensor]:
    """Gradient of the sum of the model's own losses, in float64."""
    twin = model.double()
    weights = {name: module.weight for name, module in matching_modules(twin, targets).items()}
    loss = torch.stack([twin(**in_double(batch)).loss for batch in batches]).sum()
    return dict(zip(weights, torch.autograd.grad(loss, list(weights.values())), strict=True))


def assert_same(estimate: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert estimate.keys() == expected.keys()
    for name, value in expected.items():
        # float32 against float64: about 100 roundings of 6e-8 on the way, relative to the largest
        tolerance = 1e-5 * value.abs().max().item()
        assert tolerance > 0
        torch.testing.assert_close(estimate[name].double(), value, rtol=0, atol=tolerance)


@pytest.mark.parametrize("size", [1, 2, 5])
@pytest.mark.parametrize("kind", KINDS)
def test_sum_of_the_models_own_losses_of_the_samples(kind, size):
    make, targets, batch = KINDS[kind]
    estimate = estimate_gradients(make(), parts(batch, size), target_modules=targets, num_samples=5)
    rows = [unpadded(row) for row in parts(batch, 1)]
    assert_same(estimate, reference(make(), targets, rows))


@pytest.mark.parametrize("kind", KINDS)
def test_batch_mean_is_the_models_own_loss_of_the_batch_over_its_size(kind):
    make, targets, batch = KINDS[kind]
    estimate = estimate_gradients(
        make(), [batch], target_modules=targets, num_samples=5, reduction="batch-mean"
    )
    whole = reference(make(), targets, [batch])
    assert_same(estimate, {name: value / 5 for name, value in whole.items()})


def test_one_pass_is_enough_where_the_terms_of_the_loss_are_known():
    """Existing estimates keep their bits: one forward pass, one backward pass a batch."""
    for model, labels in (
        (tiny_llama(0), token_labels(40)),
        (tiny_bert(0, 3), CLASSES),
        (tiny_bert(0, 1), VALUES),
    ):
        sizes: list[int] = []
        model.register_forward_pre_hook(
            lambda _, arguments, named, sizes=sizes: sizes.append(len(named["input_ids"])),
            with_kwargs=True,
        )
        batch_loss(model, padded() | {"labels": labels})
        batch_loss(model, padded() | {"labels": labels}, "batch-mean")
        assert sizes == [5, 5]


@pytest.mark.parametrize("labels", [CLASSES, SEVERAL])
def test_a_head_that_takes_its_loss_from_its_labels_is_left_without(labels):
    model = tiny_bert(0, 3)
    assert model.config.problem_type is None
    batch = padded() | {"labels": labels}
    estimate_gradients(model, [batch], target_modules=["query"], num_samples=5)
    assert model.config.problem_type is None


def test_low_precision_heads_keep_the_one_pass():
    model, sizes = tiny_bert(0, 3).bfloat16(), []
    model.register_forward_hook(lambda *_: sizes.append(1))
    batch_loss(model, padded() | {"labels": CLASSES})
    assert len(sizes) == 1


def test_the_first_token_of_a_row_is_no_label_of_a_causal_language_model():
    batch = padded() | {"labels": token_labels(40).index_fill(0, torch.tensor([2]), -100)}
    batch["labels"][2, 0] = 7
    for reduction in ("sample-sum", "batch-mean"):
        with pytest.raises(UserError, match="a sample has no label token"):
            batch_loss(tiny_llama(0), batch, reduction)


@pytest.mark.parametrize("kind", ["tokens", "seq2seq with labels", "masked tokens"])
def test_a_sample_without_labels_is_refused(kind):
    make, _, batch = KINDS[kind]
    labels = batch["labels"].clone()
    labels[3] = -100
    for reduction in ("sample-sum", "batch-mean"):
        with pytest.raises(UserError, match="a sample has no label token"):
            batch_loss(make(), batch | {"labels": labels}, reduction)


@pytest.mark.parametrize(
    ("extra", "match"),
    [
        ({"num_items_in_batch": torch.tensor(12)}, "'num_items_in_batch' is no tensor with a row"),
        ({"text": ["a", "b", "c", "d", "e"]}, "'text' is no tensor with a row for each sample"),
        ({"token_type_ids": torch.zeros(2, WIDTH).long()}, "should have a row for each sample"),
    ],
)
def test_batches_that_are_not_rows_are_one_line(extra, match):
    batch = padded() | {"labels": CLASSES} | extra
    with pytest.raises(UserError, match=match):
        estimate_gradients(tiny_bert(0, 3), [batch], target_modules=["query"], num_samples=5)


def test_a_model_without_a_loss_is_refused():
    model = built("BertModel", **SIZES)
    with pytest.raises(UserError, match="BertModel returns no loss for batches of input_ids"):
        estimate_gradients(model, [padded()], target_modules=["query"], num_samples=5)


def test_a_column_that_the_model_does_not_take_is_one_line():
    class Strict(type(tiny_bert(0))):  # type: ignore[misc]
        def forward(self, input_ids, attention_mask, labels):
            return super().forward(input_ids, attention_mask, labels=labels)

    model = tiny_bert(0)
    model.__class__ = Strict
    batch = padded() | {"labels": CLASSES.clamp(max=1), "index": torch.arange(5)}
    with pytest.raises(
        UserError, match="batch: Strict: got an unexpected keyword argument 'index'"
    ):
        estimate_gradients(model, [batch], target_modules=["query"], num_samples=5)


@pytest.mark.parametrize("kind", ["tokens", "several labels"])
def test_one_row_may_serve_all_samples(kind):
    make, targets, batch = KINDS[kind]
    shared = batch | {"position_ids": torch.arange(WIDTH)[None]}
    found, expected = (
        estimate_gradients(make(), [rows], target_modules=targets, num_samples=5)
        for rows in (shared, batch)
    )
    assert all(torch.equal(found[name], value) for name, value in expected.items())
