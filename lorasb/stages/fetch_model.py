"""Rule `fetch_model`."""

from __future__ import annotations

from lorasb.files import write_json
from lorasb.models.gguf_files import origin, unpacked
from lorasb.models.weights import weights_hash
from lorasb.study.paths import MODEL
from lorasb.study.study import Study


def fetch_model(study: str, model: str) -> None:
    """Fetch and convert a model that comes as a GGUF file, and write down what it was."""
    found = Study.load(study)
    spec = found.models[model]
    facts = origin(spec) | {"label": spec.label, "weights": weights_hash(unpacked(spec))}
    write_json(f"{MODEL.format(study=study, model=model)}/model.json", facts)
