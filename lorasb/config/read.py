"""Read the YAML files under `config/` and refuse what their schemas do not know."""

from __future__ import annotations

import copy
import difflib
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any, cast

import yaml
from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match

from lorasb.errors import UserError

try:  # several times faster, where PyYAML was built with it
    from yaml import CSafeLoader as _SafeLoader
except ImportError:
    from yaml import SafeLoader as _SafeLoader  # type: ignore[assignment]

CONFIG = Path("config")
# whose files may state `extends`, the name of another one, and then only what differs from it
EXTENDABLE = {"study", "task", "model"}
# starts the name of a file that is only there to be extended
TEMPLATE = "_"
Data = dict[str, Any]


def load_config() -> Data:
    """`config/config.yaml`: which study to run."""
    return read_yaml(CONFIG / "config.yaml", "config")


def load_defaults() -> Data:
    """`config/defaults.yaml`: the settings that a study does not change."""
    return read_yaml(CONFIG / "defaults.yaml", "settings")


def load_study(name: str) -> Data:
    """`config/studies/{name}.yaml`."""
    return _load("study", "studies", name)


def load_model_config(name: str) -> Data:
    """`config/models/{name}.yaml`."""
    return _load("model", "models", name)


def load_task_config(name: str) -> Data:
    """`config/tasks/{name}.yaml`."""
    return _load("task", "tasks", name)


def load_protocol(name: str) -> Data:
    """`config/protocols/{name}.yaml`: settings between the defaults and those of a study."""
    return _load("protocol", "protocols", name)


def load_variant(name: str) -> Data:
    """A method with fixed arguments; see `load_variants`."""
    return load_variants([name])[name]


def load_variants(wanted: Iterable[str]) -> dict[str, Data]:
    """Methods with fixed arguments: files in `config/methods`, or one of the variants inside.

    The variant `n1` of `lora-sb.yaml` is called `lora-sb-n1`; its keys are laid over the file's.
    """
    wanted = list(wanted)
    found = load_families(wanted)
    for name in wanted:
        if name not in found:
            raise UserError(unknown("variant", name, variants()))
    return {name: found[name] for name in wanted}


def load_families(wanted: Iterable[str]) -> dict[str, Data]:
    """All variants of the files that these variants are in."""
    return _variants([file for file in names("methods") if _may_hold(file, wanted)])


def variants() -> list[str]:
    """The names of all variants in `config/methods`."""
    return sorted(_variants(names("methods")))


def names(folder: str) -> list[str]:
    """The slugs that have a YAML file in `config/{folder}`; a template has none."""
    return [stem for stem in _stems(folder) if not stem.startswith(TEMPLATE)]


def _stems(folder: str) -> list[str]:
    if not CONFIG.is_dir():
        raise UserError(f"{CONFIG}: no such folder; run from the project's root, where it is")
    return sorted(path.stem for path in (CONFIG / folder).glob("*.yaml"))


def merge(base: Data, changes: Data) -> Data:
    """`base` with `changes` laid over it, key by key at every depth. Neither is modified."""
    merged = copy.deepcopy(base)
    for key, value in changes.items():
        if isinstance(value, dict) and isinstance(merged.get(key), dict):
            merged[key] = merge(merged[key], value)
        else:
            merged[key] = copy.deepcopy(value)
    return merged


def read_yaml(path: Path, schema: str) -> Data:
    """Read one YAML file and check it against `lorasb/config/schemas/{schema}.schema.yaml`.

    Raises
    ------
    UserError
        If the file is missing, is not YAML, repeats a key, or does not fit the schema.
    """
    data = _parse(path)
    check(data, schema, str(path))
    return cast(Data, data)


def _parse(path: Path) -> Any:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise UserError(
            f"{path}: no such file; run from the project's root, where config/ is"
        ) from error
    try:
        return yaml.load(text, Loader=_StrictLoader)
    except yaml.YAMLError as error:
        message = " ".join(str(error).split())
        raise UserError(f"{path}: not valid YAML: {message}") from error


def check(data: Any, schema: str, where: str) -> None:
    """Check `data` against a schema; the error names the key and says what would be right."""
    error = best_match(_validator(schema).iter_errors(data))
    if error is None:
        return
    key = ".".join(str(part) for part in error.absolute_path) or "top level"
    raise UserError(f"{where}: {key}: {_explain(error)}")


def _explain(error: Any) -> str:
    message = str(error.message)
    if error.validator == "additionalProperties":
        known = sorted(error.schema.get("properties", {}))
        unknown = sorted(set(error.instance) - set(known))
        message = f"unknown key {', '.join(map(repr, unknown))}; known: {', '.join(known)}"
    hint = error.schema.get("hint")
    return f"{message}; {hint}" if hint else message


def _may_hold(file: str, wanted: Iterable[str]) -> bool:
    return any(f"{name}-".startswith(f"{file}-") for name in wanted)


def _variants(files: list[str]) -> dict[str, Data]:
    """The variants of these files of `config/methods`, by name."""
    found: dict[str, Data] = {}
    owners: dict[str, str] = {}
    for file in files:
        for name, data in _variants_of(file).items():
            if name in found:
                raise UserError(
                    f"{CONFIG}/methods: {owners[name]}.yaml and {file}.yaml both have a variant "
                    f"'{name}'; rename one of them"
                )
            found[name], owners[name] = data, file
    return found


def _variants_of(file: str) -> dict[str, Data]:
    """A method's own variant, called as its file, and those inside the file."""
    data = read_yaml(CONFIG / "methods" / f"{file}.yaml", "method")
    inside = data.pop("variants", {})
    # two variants that look alike could not be told apart
    shared = {key: value for key, value in data.items() if key != "style"}
    return {file: data} | {f"{file}-{key}": merge(shared, own) for key, own in inside.items()}


def _load(kind: str, folder: str, name: str) -> Data:
    path = CONFIG / folder / f"{name}.yaml"
    if not path.exists():
        raise UserError(unknown(kind, name, names(folder)) + f" (there is no {path})")
    if name.startswith(TEMPLATE):
        raise UserError(f"{path}: a template, which a {kind} may extend, is no {kind} itself")
    if kind not in EXTENDABLE:
        return read_yaml(path, kind)
    data = _extended(kind, folder, [name])
    check(data, kind, str(path))
    return cast(Data, data)


def _extended(kind: str, folder: str, chain: list[str]) -> Any:
    """The file that ends the chain of names, laid over the files that it extends."""
    path = CONFIG / folder / f"{chain[-1]}.yaml"
    data = _parse(path)
    if not isinstance(data, dict):
        check(data, kind, str(path))
    if "extends" not in data:
        return data
    parent = data.pop("extends")
    if not isinstance(parent, str):
        raise UserError(f"{path}: extends: {parent!r} is not the name of a file in config/{folder}")
    if parent in chain:
        circle = " -> ".join([*chain, parent])
        raise UserError(f"{path}: extends: {circle}: a {kind} cannot extend itself")
    if not (CONFIG / folder / f"{parent}.yaml").exists():
        raise UserError(f"{path}: extends: {unknown(kind, parent, _stems(folder))}")
    return merge(_extended(kind, folder, [*chain, parent]), data)


def unknown(kind: str, name: str, known: list[str]) -> str:
    """The message for a name that nothing has: nearest known name first, then all of them."""
    near = difflib.get_close_matches(name, known, n=1)
    meant = f"; did you mean '{near[0]}'?" if near else ";"
    return f"unknown {kind} '{name}'{meant} known: {', '.join(known) or 'none'}"


@cache
def _validator(schema: str) -> Draft202012Validator:
    path = Path(__file__).parent / "schemas" / f"{schema}.schema.yaml"
    return Draft202012Validator(yaml.load(path.read_text(encoding="utf-8"), Loader=_SafeLoader))


class _StrictLoader(_SafeLoader):
    """A safe loader that refuses a key written twice, of which YAML would keep the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=deep) for key, _ in node.value]
        twice = {key for key in keys if keys.count(key) > 1}
        if twice:
            raise yaml.constructor.ConstructorError(
                None, None, f"key {sorted(twice)[0]!r} appears twice", node.start_mark
            )
        return super().construct_mapping(node, deep=deep)
