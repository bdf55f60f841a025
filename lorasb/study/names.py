"""What readers see: labels of models, tasks, evaluation sets and variants, in display order."""

from __future__ import annotations

from collections.abc import Iterator

from lorasb.study.study import Study

COLUMNS = ["kind", "name", "label", "color", "marker", "line"]


def names(study: Study) -> Iterator[dict[str, str]]:
    """One row a name, with its style where its file has one; the order is that of the files."""
    for model, spec in study.models.items():
        yield {"kind": "model", "name": model, "label": spec.label}
    for task, data in study.task_data.items():
        yield {"kind": "task", "name": task, "label": data["label"]}
        for name, own in data["splits"]["test"].get("sets", {}).items():
            yield {"kind": "set", "name": name, "label": own["label"]}
    for variant in study.variants.values():
        named = {"kind": "variant", "name": variant.name, "label": variant.label}
        yield named | dict(variant.style)
