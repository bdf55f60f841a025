"""Where a number comes from: code, versions, machine; and whether versions are the pinned ones."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

# Libraries that make numbers, and the versions of constraints.txt, with which tables are released.
PINNED = {
    "torch": "2.13.0",
    "transformers": "5.23.0",
    "tokenizers": "0.23.3",
    "peft": "0.21.2",
    "accelerate": "1.15.0",
    "datasets": "5.2.0",
    "evaluate": "0.4.6",
    "numpy": "2.4.6",
    "scipy": "1.17.1",
    "scikit-learn": "1.9.1",
    "pandas": "3.1.1",
    "math-verify": "0.9.0",
    "latex2sympy2_extended": "1.11.0",
    "sympy": "1.14.0",
}
OTHERS = ("lorasb", "safetensors", "snakemake", "torch-optimi")


def other_versions(packages: Mapping[str, str]) -> str:
    """The packages of another version than the pinned one, as `torch 2.12.0 (pinned 2.13.0)`.

    Builds of one version, as `2.13.0+cpu`, are alike.
    """
    return ", ".join(
        f"{name} {packages[name]} (pinned {pinned})"
        for name, pinned in PINNED.items()
        if name in packages and packages[name].split("+")[0] != pinned
    )


def installed_versions() -> dict[str, str]:
    """The versions of the packages that are recorded, as far as they are installed."""
    found = {}
    for name in (*PINNED, *OTHERS):
        with suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def versions_line() -> str:
    """What to say where numbers are made with other versions than the pinned ones, or nothing."""
    others = other_versions(installed_versions())
    return (
        f"numbers may differ from released ones: {others}; "
        "`pip install -c constraints.txt ...` has the pinned versions"
        if others
        else ""
    )


def provenance() -> dict[str, Any]:
    """Commit (with a flag for uncommitted changes), package versions, device, thread count."""
    import torch

    cuda, packages = torch.cuda.is_available(), installed_versions()
    return {
        "commit": _git("rev-parse", "HEAD"),
        "uncommitted_changes": bool(_git("status", "--porcelain")),
        "python": platform.python_version(),
        "packages": packages,
        "other_versions": other_versions(packages),
        "system": platform.platform(),
        "processor": _processor(),
        "device": torch.cuda.get_device_name() if cuda else "cpu",
        "threads": torch.get_num_threads(),
    }


def _git(*arguments: str) -> str | None:
    """Output of a git command, or None where there is no git or no repository."""
    try:
        done = subprocess.run(
            ["git", *arguments], capture_output=True, text=True, check=False, timeout=20
        )
    except FileNotFoundError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
