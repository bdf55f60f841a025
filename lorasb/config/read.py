"""Read the YAML files under `config/` and refuse what their schemas do not know."""

from __future__ import annotations

import copy
import difflib
import os
import re
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, NoReturn, cast

import yaml
from jsonschema import Draft202012Validator, FormatChecker
from jsonschema.exceptions import best_match
from jsonschema.validators import extend

from lorasb.config.spelling import refuse_rate
from lorasb.errors import UserError, one_line

try:  # several times faster, where PyYAML was built with it
    from yaml import CSafeLoader as _SafeLoader
except ImportError:
    from yaml import SafeLoader as _SafeLoader  # type: ignore[assignment]

CONFIG = Path("config")
# names a folder of the user's own, whose files stand beside those of `config/`
OWN_CONFIG = "LORASB_CONFIG"
# whose files may state `extends`, the name of another one, and then only what differs from it
EXTENDABLE = {"study", "task", "model"}
# starts the name of a file that is only there to be extended
TEMPLATE = "_"
# above it a number no longer fits into the 64 bits that torch and numpy have for it
LARGEST = 2.0**63
Data = dict[str, Any]


def load_config() -> Data:
    """`config/config.yaml`: which study to run. `--config` may add keys, so none is missed here."""
    return _parse(CONFIG / "config.yaml", "config")


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
    return sorted(path.stem for part in folders() for path in (part / folder).glob("*.yaml"))


def folders() -> list[Path]:
    """`config/`, and the user's own folder if the environment names one.

    Raises
    ------
    UserError
        If there is no such folder.
    """
    if not CONFIG.is_dir():
        raise UserError(f"{CONFIG}: no such folder; run from the project's root, where it is")
    own = os.environ.get(OWN_CONFIG)
    if not own:
        return [CONFIG]
    if not Path(own).is_dir():
        raise UserError(f"{OWN_CONFIG}={own}: no such folder; name the one with your own files")
    return [CONFIG, Path(own)]


def path_of(folder: str, name: str) -> Path:
    """The YAML file of that name, in `config/` or in the user's own folder; it need not be there.

    Raises
    ------
    UserError
        If both have one.
    """
    paths = [part / folder / f"{name}.yaml" for part in folders()]
    there = [path for path in paths if path.exists()]
    if len(there) > 1:
        raise UserError(f"{there[1]}: {there[0]} has that name; rename it")
    return there[0] if there else paths[0]


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
    data = _parse(path, schema)
    check(data, schema, str(path))
    return data


def read_text(path: Path) -> str:
    """The text of a file under `config/`.

    Raises
    ------
    UserError
        If there is no such file, or none that can be read as UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise UserError(
            f"{path}: no such file; run from the project's root, where config/ is"
        ) from error
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; it should be a file to read") from error
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise UserError(f"{path}: line {line} is not UTF-8; save the file as UTF-8") from error


def _parse(path: Path, schema: str) -> Data:
    """The mapping that a YAML file holds. Its numbers are checked; its keys are not yet."""
    text = read_text(path)
    try:
        data = yaml.load(text, Loader=_StrictLoader)
    except (yaml.YAMLError, ValueError) as error:
        message = one_line(error).replace('in "<unicode string>", ', "at ")
        raise UserError(f"{path}: not valid YAML: {message}") from error
    if not isinstance(data, dict):
        found = "an empty file" if data is None else f"{data!r} is not a mapping"
        keys = ", ".join(_validator(schema).schema["required"])
        raise UserError(f"{path}: {found}; it should have the keys {keys}")
    for key, number in _numbers(data):
        if not abs(number) < LARGEST:  # nor is nan
            raise UserError(f"{path}: {key}: {number} is out of range; write a finite number")
    return data


def _numbers(data: Any, key: str = "") -> Iterator[tuple[str, float]]:
    """Each number at whatever depth, after the keys that lead to it."""
    if isinstance(data, dict | list):
        for part, value in data.items() if isinstance(data, dict) else enumerate(data):
            yield from _numbers(value, f"{key}.{part}" if key else str(part))
    elif isinstance(data, int | float):
        yield key, data


def check(data: Any, schema: str, where: str) -> None:
    """Check `data` against a schema; the error names the key and says what would be right."""
    _refuse_misfit(data, _validator(schema), where)


def check_keys(data: Data, keys: Data, where: str) -> None:
    """Check a mapping that may have these keys, each with a schema; all but optional ones must be.

    A key is optional if its schema has a `default`.
    """
    required = [key for key, schema in keys.items() if "default" not in schema]
    schema = {"additionalProperties": False, "properties": keys, "required": required}
    _refuse_misfit(data, _Validator(schema), where)


def _refuse_misfit(data: Any, validator: Any, where: str) -> None:
    error = best_match(validator.iter_errors(data))
    if error is None:
        return
    key = ".".join(str(part) for part in error.absolute_path) or "top level"
    raise UserError(f"{where}: {key}: {_explain(error)}")


_NUMBER: list[Any] = ["number", ["number", "null"]]


def _explain(error: Any) -> str:
    message = str(error.message)
    if error.validator == "additionalProperties":
        known = sorted(error.schema.get("properties", {}))
        unknown = sorted(set(error.instance) - set(known), key=str)
        message = f"unknown key {', '.join(map(repr, unknown))}; known: {', '.join(known)}"
    if error.validator_value in _NUMBER and isinstance(error.instance, str):
        message += "; YAML reads an exponent only after a point and with a sign, as in 1.0e-3"
    if error.cause is not None:  # of a format
        message = f"{error.instance!r} {error.cause}"
    hint = error.schema.get("hint")
    return f"{message}; {hint}" if hint else message


def variant_file(name: str) -> Path:
    """The file in `config/methods` that has a variant."""
    (file,) = (f for f in names("methods") if _may_hold(f, [name]) and name in _variants_of(f))
    return path_of("methods", file)


def opening_comment(path: Path) -> str:
    """The comment that a file begins with, without its marks; empty where there is none."""
    found = re.match(r"(?:#.*\n)+", read_text(path))
    return re.sub(r"^# ?", "", found[0], flags=re.MULTILINE).strip() if found else ""


def opening_comments(folder: str, name: str) -> dict[Path, str]:
    """That of the YAML file of that name in a folder of `config/`, and of those that it extends."""
    path = path_of(folder, name)
    parent = _parse(path, path.stem).get("extends")
    more = opening_comments(folder, parent) if parent else {}
    return {path: opening_comment(path)} | more


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
    data = read_yaml(path_of("methods", file), "method")
    inside = data.pop("variants", {})
    # two variants that look alike could not be told apart
    shared = {key: value for key, value in data.items() if key != "style"}
    return {file: data} | {f"{file}-{key}": merge(shared, own) for key, own in inside.items()}


def _load(kind: str, folder: str, name: str) -> Data:
    path = path_of(folder, name)
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
    path = path_of(folder, chain[-1])
    data = _parse(path, kind)
    if "extends" not in data:
        return data
    parent = data.pop("extends")
    if not isinstance(parent, str):
        raise UserError(f"{path}: extends: {parent!r} is not the name of a file in config/{folder}")
    if parent in chain:
        circle = " -> ".join([*chain, parent])
        raise UserError(f"{path}: extends: {circle}: a {kind} cannot extend itself")
    if not path_of(folder, parent).exists():
        raise UserError(f"{path}: extends: {unknown(kind, parent, _stems(folder))}")
    return merge(_extended(kind, folder, [*chain, parent]), data)


def unknown(kind: str, name: str, known: list[str]) -> str:
    """The message for a name that nothing has: nearest known name first, then all of them."""
    near = difflib.get_close_matches(name, known, n=1)
    meant = f"; did you mean '{near[0]}'?" if near else ";"
    return f"unknown {kind} '{name}'{meant} known: {', '.join(known) or 'none'}"


@cache
def _validator(schema: str) -> Any:
    path = Path(__file__).parent / "schemas" / f"{schema}.schema.yaml"
    data = yaml.load(path.read_text(encoding="utf-8"), Loader=_SafeLoader)
    return _Validator(data, format_checker=_FORMATS)


_FORMATS = FormatChecker(formats=())


@_FORMATS.checks("learning-rate", raises=ValueError)
def _is_rate(value: object) -> bool:
    if isinstance(value, str):
        refuse_rate(value)
    return True


# 8.0 is no whole number here: it would name another folder than 8
_Validator = extend(  # type: ignore[no-untyped-call]
    Draft202012Validator,
    type_checker=Draft202012Validator.TYPE_CHECKER.redefine(
        "integer", lambda _, value: isinstance(value, int) and not isinstance(value, bool)
    ),
)


class _StrictLoader(_SafeLoader):
    """A safe loader that refuses what YAML would read as something else than it looks like."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Refuse a key written twice, of which YAML would keep the last."""
        seen: list[Any] = []
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                _refuse(key_node, f"key {key!r} appears twice")
            seen.append(key)
        return super().construct_mapping(node, deep=deep)

    def construct_whole(self, node: yaml.ScalarNode) -> int:
        """Refuse 010, which would be 8, and 1:30, which would be 90."""
        if not re.fullmatch(r"[-+]?(0|[1-9][0-9_]*)", node.value):
            _refuse(node, f"{node.value} is no decimal number; quote it if it is a text")
        return int(node.value)

    yaml_constructors: ClassVar = {
        **_SafeLoader.yaml_constructors,
        "tag:yaml.org,2002:int": construct_whole,
        # a date is a text
        "tag:yaml.org,2002:timestamp": _SafeLoader.construct_yaml_str,
    }


def _refuse(node: yaml.Node, message: str) -> NoReturn:
    raise yaml.constructor.ConstructorError(None, None, message, node.start_mark)
