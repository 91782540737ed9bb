"""A process that imports xclaim from one side's sources and lives through the whole run.

What it is asked and what it answers are lines of JSON, so that import and start are not measured.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from benchmarks.sides.checkout import ROOT

_IMPORTED = "imported"


class SideFailedError(Exception):
    """A side's process could not do what it was asked."""


class NotConsumedError(Exception):
    """Not each message was consumed once: what was measured means nothing."""


class Side:
    """A process of one side, asked from ours."""

    def __init__(self, name: str, process: subprocess.Popen[str]) -> None:
        self._name, self._process = name, process

    def ask(self, **order: Any) -> Any:
        """Send an order and return the answer. Raise SideFailedError with what went wrong."""
        answer = self._answer(json.dumps(order))
        if "error" in answer:
            raise SideFailedError(f"{self._name}: {answer['error']}")
        return answer["result"]

    def _answer(self, order: str) -> dict[str, Any]:
        to, back = self._process.stdin, self._process.stdout
        if to is None or back is None or self._process.poll() is not None:
            return {"error": f"the process has ended with {self._process.returncode}"}
        to.write(f"{order}\n")
        to.flush()
        line = back.readline()
        return json.loads(line) if line else {"error": "the process has ended without an answer"}


@contextmanager
def both_sides(module: str, sources: Mapping[str, Path]) -> Iterator[dict[str, Side]]:
    """Run a process for each side, with xclaim from its sources, until the block ends."""
    with ExitStack() as stack:
        yield {
            name: stack.enter_context(one_side(module, source, name))
            for name, source in sources.items()
        }


@contextmanager
def one_side(module: str, source: Path, name: str, *arguments: str) -> Iterator[Side]:
    """Run a module that calls ``serve``, with xclaim from ``source``, until the block ends."""
    with subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        # One seed: two processes whose dictionaries are laid out otherwise are not equally fast.
        env=os.environ | {"PYTHONPATH": f"{source}:{ROOT}", "PYTHONHASHSEED": "0"},
        cwd=source,  # or the current folder would be first on the path
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        side = Side(name, process)
        used = side.ask(act=_IMPORTED)
        if used != str(source):
            raise SideFailedError(f"{name}: xclaim came from {used} instead of {source}")
        yield side
        process.communicate()


def serve(acts: Mapping[str, Callable[..., Any]]) -> None:
    """Do what is asked for on standard input, one line after the other, until it is closed."""
    known = {_IMPORTED: _imported, **acts}
    for line in sys.stdin:
        order = json.loads(line)
        try:
            answer = {"result": known[order.pop("act")](**order)}
        except Exception as error:  # noqa: BLE001  (it is the answer)
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


def _imported() -> str:
    import xclaim

    return str(Path(xclaim.__file__).parents[1])
