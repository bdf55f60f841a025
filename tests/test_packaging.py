"""What is built from this project, and whether it works where nothing else is installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent.parent
SUITE = ("snakemake", "datasets", "pandas", "scipy", "sklearn", "matplotlib", "jsonschema", "gguf")

pytestmark = pytest.mark.slow


def call(*command: str | Path, cwd: Path, status: int = 0) -> str:
    """Run a command that ends with that status; its output."""
    # what a developer's shell adds to Python's path is not in the environment either
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with wheel and sdist, built from a copy: building writes beside the sources."""
    for tool in ("build", "twine"):
        pytest.importorskip(tool)
    folder = tmp_path_factory.mktemp("built")
    copied = folder / "project"
    leave = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info", "logs", "published", "build")
    shutil.copytree(ROOT, copied, ignore=leave)
    # the wheel is built from the sdist, so that the sdist is known to be enough
    build = (sys.executable, "-m", "build", "--no-isolation", "--outdir", folder / "dist")
    call(*build, copied, cwd=folder)
    return folder / "dist"


@pytest.fixture(scope="module")
def python(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment with the wheel and what it requires, and nothing else.

    Dependencies are linked from this environment: downloading torch would take 3 GB.
    """
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=True, symlinks=True)
    (site,) = folder.glob("lib/python*/site-packages")
    (wheel,) = built.glob("*.whl")
    (found,) = metadata.distributions(path=[str(wheel)])
    for name in closure(found.requires or []):
        link(metadata.distribution(name), site)
    pip = (folder / "bin/python", "-m", "pip", "--disable-pip-version-check")
    call(*pip, "install", "--no-index", wheel, cwd=folder)
    call(*pip, "check", cwd=folder)
    return folder / "bin/python"


def closure(requirements: list[str]) -> set[str]:
    """Names of all that these requirements bring here."""
    names: set[str] = set()
    seen: set[tuple[str, str]] = set()
    waiting = [Requirement(text) for text in requirements]
    waiting = [one for one in waiting if applies(one, "")]
    while waiting:
        one = waiting.pop()
        for extra in ("", *one.extras):
            if (one.name, extra) in seen:
                continue
            seen.add((one.name, extra))
            names.add(one.name)
            further = map(Requirement, metadata.distribution(one.name).requires or [])
            waiting += [two for two in further if applies(two, extra)]
    return names


def applies(requirement: Requirement, extra: str) -> bool:
    return requirement.marker is None or requirement.marker.evaluate({"extra": extra})


def link(distribution: metadata.Distribution, site: Path) -> None:
    for name in {path.parts[0] for path in distribution.files or []} - {"..", "__pycache__"}:
        if not (site / name).exists():
            (site / name).symlink_to(Path(str(distribution.locate_file(name))).resolve())


def test_wheel_has_the_package_alone(built):
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as file:
        names = set(file.namelist())
    sources = {
        path.relative_to(ROOT).as_posix()
        for pattern in ("*.py", "config/schemas/*.yaml", "py.typed")
        for path in (ROOT / "lorasb").rglob(pattern)
    }
    assert {name for name in names if ".dist-info/" not in name} == sources
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_sdist_has_what_the_wheel_is_built_from(built):
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as file:
        names = {name.partition("/")[2] for name in file.getnames()}
    assert {name.partition("/")[0] for name in names} - {"", "PKG-INFO", "setup.cfg"} == {
        *("lorasb", "lorasb.egg-info", "pyproject.toml", "MANIFEST.in"),
        *("README.md", "LICENSE", "CHANGELOG.md", "CITATION.cff"),
    }


def test_registries_accept_both(built):
    files = sorted(built.iterdir())
    said = call(sys.executable, "-m", "twine", "check", "--strict", *files, cwd=built)
    assert said.count("PASSED") == 2


USE = """
import importlib.util
import sys
import lorasb
import peft
import torch
from transformers import LlamaConfig, LlamaForCausalLM

assert lorasb.__file__.startswith(sys.prefix)
assert not [name for name in {suite} if importlib.util.find_spec(name)]
sizes = dict(vocab_size=16, hidden_size=8, intermediate_size=8, num_hidden_layers=1)
base = LlamaForCausalLM(LlamaConfig(**sizes, num_attention_heads=2, num_key_value_heads=2))
ids = torch.arange(12).reshape(2, 6)
batches = [dict(input_ids=ids, labels=ids)]

gradients = lorasb.estimate_gradients(base, batches, target_modules=["q_proj"], num_samples=2)
config = lorasb.LoraXSConfig(r=2, target_modules=["q_proj"], init_weights="empty")
model = peft.get_peft_model(base, config)
lorasb.initialize_lora_sb(model, gradients, learning_rate=1e-3)

lorasb.export_lora(model, "lora")
model.save_pretrained("own")
import lorasb.integrations.trl
from lorasb.training.schedule import first_learning_rate
"""


def test_the_tuner_runs_with_its_five_dependencies(python, tmp_path):
    call(python, "-I", "-c", USE.format(suite=SUITE), cwd=tmp_path)
    assert (tmp_path / "lora/adapter_model.safetensors").exists()
    assert (tmp_path / "own/adapter_model.safetensors").exists()


def test_the_command_says_what_the_suite_needs(python, tmp_path):
    command = python.with_name("lorasb")
    assert metadata.version("lorasb") in call(command, "--version", cwd=tmp_path)
    said = call(command, "plan", "--study", "quickstart", cwd=tmp_path, status=1)
    assert "pip install 'lorasb[suite]'" in said
    assert said.count("\n") == 1
