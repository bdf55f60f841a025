"""What readers see: labels of models, tasks, evaluation sets and variants, in display order."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from lorasb.config.read import load_families

if TYPE_CHECKING:
    from lorasb.study.study import Study

COLUMNS = ["kind", "name", "label", "color", "marker", "line"]


def name_rows(study: Study) -> Iterator[dict[str, str]]:
    """One row a name, with its style where its file has one; the order is that of the files.

    After the variants of the study come the others of their methods: a line of a figure may stand
    for several variants, under the name of the method.
    """
    for model, spec in study.models.items():
        yield {"kind": "model", "name": model, "label": spec.label}
    for task, data in study.task_data.items():
        yield {"kind": "task", "name": task, "label": data["label"]}
        for name, own in data["splits"]["test"].get("sets", {}).items():
            yield {"kind": "set", "name": name, "label": own["label"]}
    families = load_families(study.variants)
    for name in dict.fromkeys([*study.variants, *families]):
        data = families[name]
        named = {"kind": "variant", "name": name, "label": data["label"]}
        yield named | data.get("style", {})
