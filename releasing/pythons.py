"""The Pythons that can be had: those on the PATH, pyenv's, and what uv can install."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

PYTHONS = ("3.11", "3.12", "3.13", "3.14")  # what CONTRIBUTING promises


def find_python(version: str) -> str | None:
    """Return a Python of the version that runs, or None."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    found = [shutil.which(f"python{version}"), *pyenv.glob(f"{version}.*/bin/python")]
    for python in filter(None, found):
        if _version_of(str(python)) == version:
            return str(python)
    return _install_python(version)


def _version_of(python: str) -> str | None:
    ask = "import sys; print('%d.%d' % sys.version_info[:2])"
    done = subprocess.run([python, "-c", ask], capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else None


def _install_python(version: str) -> str | None:
    uv = shutil.which("uv")
    if uv is None:
        return None
    subprocess.run([uv, "python", "install", "--quiet", version], capture_output=True, check=False)
    find = [uv, "python", "find", "--managed-python", "--no-python-downloads", version]
    found = subprocess.run(find, capture_output=True, text=True, check=False)
    return found.stdout.strip() if found.returncode == 0 else None
