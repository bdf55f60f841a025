"""Data flows one way: config, workflow, lorasb, results, analysis; so do imports inside lorasb."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from lorasb.__main__ import VERBS
from lorasb.config.read import variants
from lorasb.methods.registry import get_method, method_names

ROOT = Path(__file__).resolve().parent.parent

# The rooms of lorasb from the ground up: each may import those on lines above it, and the others
# of its own line.
FLOORS = [
    {"errors", "seeding", "machine", "provenance", "files", "records", "hub", "kept", "service"},
    {"config", "linalg"},
    {"models"},
    {"tuner", "bundled"},
    {"start", "tasks"},
    {"methods"},
    {"study", "claims"},
    {"training", "evaluation"},
    {"probes", "tidy", "integrations", "bench"},
    {"stages"},
    {"__main__"},
]
# public names of the package and the registration with PEFT; nothing inside imports it
FACE = "__init__"
LOOSE = 11  # modules that lie beside the packages
STAGES_WITHOUT_RULE = {
    "bench",
    "count",
    "export",
    "export-results",
    "publish",
    "show",
}  # verbs that people call, not the workflow
VERBS_OF_BUNDLED = {"pretrain", "byte-model"}


def nodes(path: Path) -> Iterator[ast.AST]:
    return ast.walk(ast.parse(path.read_text(encoding="utf-8")))


def imported(path: Path) -> set[str]:
    """Full names of everything that a file imports."""
    found: set[str] = set()
    for node in nodes(path):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def top_level(path: Path) -> set[str]:
    return {name.split(".")[0] for name in imported(path)}


def room(path: Path) -> str:
    return path.relative_to(ROOT / "lorasb").parts[0].removesuffix(".py")


def modules() -> list[Path]:
    return sorted((ROOT / "lorasb").rglob("*.py"))


def floor(name: str) -> int:
    (found,) = [index for index, rooms in enumerate(FLOORS) if name in rooms]
    return found


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_library_knows_neither_workflow_nor_analysis(path):
    assert not top_level(path) & {"snakemake", "analysis", "matplotlib"}


@pytest.mark.parametrize("path", sorted((ROOT / "analysis").rglob("*.py")), ids=str)
def test_analysis_needs_tables_only(path):
    assert not top_level(path) & {"lorasb", "torch", "transformers", "peft", "datasets"}


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_lead_down(path):
    if path.stem == FACE and path.parent == ROOT / "lorasb":
        return
    own = floor(room(path))
    for name in imported(path):
        if name.startswith("lorasb."):
            other = name.split(".")[1]
            assert floor(other) <= own, f"{path.relative_to(ROOT)} imports {name}"


def test_packages_have_no_circles():
    """Rooms of one floor do not import each other in a circle."""
    needs: dict[str, set[str]] = {}
    for path in modules():
        inside = {name.split(".")[1] for name in imported(path) if name.startswith("lorasb.")}
        needs.setdefault(room(path), set()).update(inside - {room(path)})
    while needs:
        free = {name for name, others in needs.items() if not others & needs.keys()}
        assert free, f"a circle among {sorted(needs)}"
        needs = {name: others for name, others in needs.items() if name not in free}


def test_every_room_is_on_one_floor_and_few_modules_are_loose():
    rooms = {room(path) for path in modules()} - {FACE}
    assert rooms == set().union(*FLOORS)
    assert len(list((ROOT / "lorasb").glob("*.py"))) <= LOOSE


@pytest.mark.parametrize(
    "package", ["training", "evaluation", "linalg", "probes", "stages", "study", "tidy"]
)
def test_shared_code_names_no_method(package):
    strings = {
        node.value
        for path in (ROOT / "lorasb" / package).glob("*.py")
        for node in nodes(path)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    assert not strings & {"full", "lora", "lora-xs", "lora-sb", "peft", "base"}


def test_what_plans_a_workflow_imports_nothing_large():
    files = [ROOT / "Snakefile", *(ROOT / "workflow/rules").glob("*.smk")]
    lines = [line for path in files for line in path.read_text(encoding="utf-8").splitlines()]
    imports = {line for line in lines if line.startswith(("from lorasb", "import lorasb"))}
    assert len(imports) > 5
    code = "\n".join(["import sys", *sorted(imports), "print(*sys.modules)"])
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "transformers", "peft", "datasets", "evaluate"} & set(done.stdout.split())


def rules() -> set[str]:
    """The rules that are written out, by name."""
    lines = [
        line.split()
        for path in (ROOT / "workflow/rules").glob("*.smk")
        for line in path.read_text(encoding="utf-8").splitlines()
    ]
    return {words[1].removesuffix(":") for words in lines if words[:1] == ["rule"]}


def test_a_stage_its_rule_and_its_verb_bear_one_name():
    staged = {name for name, verb in VERBS.items() if verb.module.startswith("stages.")}
    assert VERBS.keys() - staged == VERBS_OF_BUNDLED
    for name in staged - STAGES_WITHOUT_RULE:
        assert name.replace("-", "_") in rules(), name
    files = {path.stem for path in (ROOT / "lorasb/stages").glob("*.py")} - {FACE}
    assert files == {VERBS[name].module.removeprefix("stages.") for name in staged}
    for name in staged - {"factorize-gradient", "factorize-weights"}:
        assert VERBS[name].module == f"stages.{name.replace('-', '_')}"


@pytest.mark.parametrize("kind", ["figures", "tables"])
def test_every_row_has_a_script_and_a_caption_and_every_script_a_row(kind):
    rows = yaml.safe_load((ROOT / f"workflow/{kind}.yaml").read_text(encoding="utf-8"))
    scripts = (ROOT / "analysis" / kind).glob("*.py")
    listed = sorted(row["name"] for row in rows)
    assert listed == sorted(path.stem for path in scripts if path.stem != "__init__")
    for name in listed:
        assert (ROOT / f"workflow/report/{name}.rst").exists()


def test_every_method_is_a_file_with_a_docstring_and_some_variant_uses_it():
    for name in method_names():
        method = get_method(name)
        assert method.__doc__
        assert sys.modules[method.__module__].__doc__
    assert {"full", "lora", "lora-xs", "lora-sb"} <= set(variants())
