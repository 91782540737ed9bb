"""mypy and pyright, run on files: what they report of which line.

basedpyright is pyright as a wheel, so that nothing is downloaded when a test runs; in its mode
`strict` it reports what pyright does.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]

Reports = dict[str, dict[int, str]]  # by module and line: what is wrong there, in a word


def mypy(files: list[Path]) -> Reports:
    """Return what mypy reports of the files; it is as strict as in `make lint`."""
    output = _output(["mypy", "--output", "json", *map(str, files)])
    reports: Reports = {file.stem: {} for file in files}
    for each in map(json.loads, output.splitlines()):
        reports[Path(each["file"]).stem][each["line"]] = each["code"]
    return reports


def pyright(files: list[Path]) -> Reports:
    """Return what pyright reports of the files, which have a folder of their own."""
    settings = {
        "extraPaths": [str(CHECKOUT / "src")],
        "typeCheckingMode": "strict",
        "enableTypeIgnoreComments": False,  # those are mypy's
    }
    folder = files[0].parent
    (folder / "pyrightconfig.json").write_text(json.dumps(settings))
    options = ["--project", str(folder), "--pythonpath", sys.executable, "--outputjson"]
    reports: Reports = {file.stem: {} for file in files}
    for each in json.loads(_output(["basedpyright", *options]))["generalDiagnostics"]:
        line = each["range"]["start"]["line"] + 1
        reports[Path(each["file"]).stem][line] = each.get("rule", each["message"])
    return reports


def _output(command: list[str]) -> str:
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=CHECKOUT, capture_output=True, text=True, check=False
    )
    if done.returncode not in {0, 1}:  # 1: there is something to report
        raise RuntimeError(f"{command[0]} failed: {done.stdout}{done.stderr}")
    return done.stdout
