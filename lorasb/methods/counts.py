"""How many numbers a method trains, keeps and serves: closed forms, no weights needed.

Shapes are (out, in) = (m, n) of the adapted weights; r is the rank.

| family  | trainable    | stored          |
|---------|--------------|-----------------|
| full    | all weights  | all weights     |
| lora    | r (m + n)    | r (m + n)       |
| dora    | r (m + n) + m| r (m + n) + m   |
| boft    | r n + m      | r n + m         |
| pissa   | r (m + n)    | 2 r (m + n)     |
| lora-fa | r m          | r (m + n)       |
| mica    | r n          | r (m + n)       |
| shira   | r (m + n)    | 3 r (m + n)     |
| lora-pro| r (m + n)    | r (m + n)       |
| lora-xs | r^2          | r^2             |
| lora-sb | r^2          | r^2 + r (m + n) |

LoRA-XS can recompute its bases from the base weights. Those of LoRA-SB come from a gradient, so
they must be kept with the adapter. PiSSA takes the start of A and B out of the base weight and
keeps it, the other half of what is stored (`lorasb.methods.peft.moved_start`).

AdamW holds two moments of each trained number; LoRA-Pro's full form 2 m n for each weight.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from lorasb.errors import UserError

if TYPE_CHECKING:
    from lorasb.models.shapes import LayerShapes
    from lorasb.models.spec import Kind, ModelSpec

Shapes = Mapping[str, tuple[int, int]]
# shapes, rank, numbers of the base model
CountFunction = Callable[[Shapes, int, int], "Counts"]


@dataclass(frozen=True)
class Counts:
    """Numbers (not bytes) of an adapter, without the task head unless a field says otherwise."""

    trainable: int
    # what must be kept, besides the base model, to load the adapter again
    stored: int
    # what a server holds besides the merged weights
    served: int = 0
    # what all adapters of this rank on one base model have in common: a server that does not merge
    # holds it once
    shared: int = 0
    # trained besides `trainable`; 0 where `whole_model`, which has the head among its weights
    task_head: int = 0
    whole_model: bool = False
    # the optimiser's numbers for the adapter; None: two for each trained one, as AdamW has them
    adapter_state: int | None = None

    @property
    def trainable_with_task_head(self) -> int:
        """Everything the optimiser sees."""
        return self.trainable + self.task_head

    @property
    def optimizer_state(self) -> int:
        """Numbers of the optimiser's moments, those of the task head included."""
        if self.adapter_state is None:
            return 2 * self.trainable_with_task_head
        return self.adapter_state + 2 * self.task_head

    def with_task_head(self, numbers: int) -> Counts:
        """The same counts beside a task head of so many numbers."""
        return self if self.whole_model else replace(self, task_head=numbers)


def full(shapes: Shapes, base_params: int) -> Counts:
    """Full fine-tuning: all `base_params` numbers of the model, its task head included."""
    return Counts(trainable=base_params, stored=base_params, whole_model=True)


def lora(shapes: Shapes, rank: int) -> Counts:
    """LoRA (arXiv 2106.09685): A (r, n) and B (m, r)."""
    trained = sum(rank * (m + n) for m, n in fitting(shapes, rank))
    return Counts(trainable=trained, stored=trained)


def norms(shapes: Shapes) -> Counts:
    """LN tuning (arXiv 2312.11420): all norms, whose numbers a model's shapes bring with them."""
    trained = getattr(shapes, "norms", 0)  # weights alone have none
    return Counts(trainable=trained, stored=trained)


def dora(shapes: Shapes, rank: int) -> Counts:
    """DoRA (arXiv 2402.09353): LoRA and one magnitude an output."""
    trained = sum(rank * (m + n) + m for m, n in fitting(shapes, rank))
    return Counts(trainable=trained, stored=trained)


def boft(shapes: Shapes, rank: int) -> Counts:
    """BOFT (arXiv 2311.06243), one butterfly factor: n / r blocks (r, r), a length an output.

    Not counted in the tuner, which makes n x n numbers for each weight.

    Raises
    ------
    UserError
        If the rank does not divide an n.
    """
    for name, (m, n) in shapes.items():
        if rank < 1 or n % rank:
            raise UserError(f"rank {rank}: the blocks of '{name}' ({m} x {n}) divide its inputs")
    trained = sum(rank * n + m for m, n in shapes.values())
    return Counts(trainable=trained, stored=trained)


def pissa(shapes: Shapes, rank: int) -> Counts:
    """PiSSA (arXiv 2404.02948): A and B trained, their starts kept beside them."""
    counts = lora(shapes, rank)
    return replace(counts, stored=2 * counts.trainable)


def lora_fa(shapes: Shapes, rank: int) -> Counts:
    """LoRA-FA (arXiv 2308.03303): B (m, r) trained, A (r, n) kept as it was drawn."""
    trained = sum(rank * m for m, _ in fitting(shapes, rank))
    return Counts(trainable=trained, stored=lora(shapes, rank).stored)


def mica(shapes: Shapes, rank: int) -> Counts:
    """MiCA (arXiv 2604.01694): A (r, n) trained, B (m, r) kept as it is."""
    trained = sum(rank * n for _, n in fitting(shapes, rank))
    return Counts(trainable=trained, stored=lora(shapes, rank).stored)


def shira(shapes: Shapes, rank: int) -> Counts:
    """SHiRA (arXiv 2406.13175): as many entries as LoRA's, each kept with its row and column."""
    trained = lora(shapes, rank).trainable
    return Counts(trainable=trained, stored=3 * trained)


def lora_pro(shapes: Shapes, rank: int) -> Counts:
    """LoRA-Pro (arXiv 2407.18242), full form: LoRA, with moments as large as the weights."""
    moments = sum(2 * m * n for m, n in fitting(shapes, rank))
    return replace(lora(shapes, rank), adapter_state=moments)


def lora_xs(shapes: Shapes, rank: int) -> Counts:
    """LoRA-XS (arXiv 2405.17604): R (r, r); A and B follow from the base weights."""
    bases = sum(rank * (m + n) for m, n in fitting(shapes, rank))
    trained = rank**2 * len(shapes)
    return Counts(trainable=trained, stored=trained, shared=bases)


def lora_sb(shapes: Shapes, rank: int) -> Counts:
    """LoRA-SB (arXiv 2411.19557): R (r, r) trained, A (r, n) and B (m, r) kept."""
    bases = sum(rank * (m + n) for m, n in fitting(shapes, rank))
    trained = rank**2 * len(shapes)
    return Counts(trainable=trained, stored=trained + bases)


FAMILIES: dict[str, Callable[[Shapes, int], Counts]] = {
    "boft": boft,
    "dora": dora,
    "lora": lora,
    "lora-fa": lora_fa,
    "lora-pro": lora_pro,
    "lora-sb": lora_sb,
    "lora-xs": lora_xs,
    "mica": mica,
    "pissa": pissa,
    "shira": shira,
}


def family(name: str) -> Callable[[Shapes, int], Counts]:
    """The closed form of an adapter family.

    Raises
    ------
    UserError
        If no family has that name.
    """
    if name not in FAMILIES:
        raise UserError(f"unknown count '{name}'; known: {', '.join(FAMILIES)}")
    return FAMILIES[name]


def count_report(
    spec: ModelSpec,
    count: CountFunction,
    rank: int,
    *,
    kind: Kind | None = None,
    num_labels: int = 2,
) -> dict[str, Any]:
    """All counts of a method on a model, ready for JSON, from shapes alone.

    `kind` is the kind of task, by default the first one of the model; it decides the task head.
    `per_module` has the shape (out, in) and the counts of each adapted weight. For full
    fine-tuning these are the weights that adapters would change, not all that it trains.
    """
    kind = kind or spec.kinds[0]
    shapes, base_params, in_head = model_shapes(spec, kind, num_labels)
    counts = count(shapes, rank, base_params).with_task_head(in_head)
    modules = {
        name: _module_report(shape, count({name: shape}, rank, shape[0] * shape[1]))
        for name, shape in shapes.items()
    }
    left_out = {"whole_model", "adapter_state"}
    totals = {key: value for key, value in asdict(counts).items() if key not in left_out}
    return {
        "base": base_params,
        "rank": rank,
        **totals,
        "trainable_with_task_head": counts.trainable_with_task_head,
        "optimizer_state": counts.optimizer_state,
        "adapted_weights": len(shapes),
        "per_module": modules,
    }


def model_shapes(spec: ModelSpec, kind: Kind, num_labels: int) -> tuple[LayerShapes, int, int]:
    """Shapes of the adapted weights, numbers of the whole model, numbers of its task head."""
    from lorasb.models.layers import head_parameters, target_shapes
    from lorasb.models.load import skeleton

    model = skeleton(spec, kind=kind, num_labels=num_labels)
    head = spec.head_modules(kind)
    shapes = target_shapes(model, spec.target_modules, exclude=head)
    in_head = sum(value.numel() for value in head_parameters(model, head).values())
    return shapes, model.num_parameters(), in_head


def _module_report(shape: tuple[int, int], counts: Counts) -> dict[str, Any]:
    return {"shape": list(shape), "trainable": counts.trainable, "stored": counts.stored}


def fitting(shapes: Shapes, rank: int) -> list[tuple[int, int]]:
    """The shapes, if the rank fits each of them.

    Raises
    ------
    UserError
        If it is above the smaller side of one, or below 1.
    """
    if rank < 1:
        raise UserError(f"rank {rank}: a rank is at least 1")
    for name, (m, n) in shapes.items():
        if rank > min(m, n):
            raise UserError(
                f"rank {rank} is larger than the weight of '{name}' ({m} x {n}) allows; "
                f"at most {min(m, n)}"
            )
    return list(shapes.values())
