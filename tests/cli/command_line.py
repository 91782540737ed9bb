"""Runs `xclaim` as people do: arguments and stdin in; stdout, stderr and a status out."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

from tests.cli.ready import ready_process
from tests.eventually import PATIENCE

XCLAIM = [sys.executable, "-m", "xclaim"]
UNREACHABLE = "postgresql://somebody:hunter2@127.0.0.1:1/shop"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a command left behind."""

    status: object
    stdout: str
    stderr: str

    @property
    def values(self) -> list[Any]:
        """The JSON lines it printed."""
        return [json.loads(line) for line in self.stdout.splitlines()]

    @property
    def errors(self) -> list[str]:
        """The lines on stderr, but for the one that names the database."""
        return [line for line in self.stderr.splitlines() if not line.startswith("database: ")]


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandLine:
    """Runs `xclaim` as a process, in a folder of its own."""

    folder: Path
    environment: dict[str, str]

    def __call__(self, *arguments: str, stdin: str = "") -> Outcome:
        """Run a command, in a process that is forked from one that is ready."""
        process = ready_process()
        status, stdout, stderr = process.run(
            arguments, self.folder, self.environment, stdin.encode()
        )
        return Outcome(status=status, stdout=stdout.decode(), stderr=stderr.decode())

    def shell(self, script: str) -> Outcome:
        """Run a script of bash in which $xclaim is the command."""
        here = replace(self, environment=self.environment | {"xclaim": " ".join(XCLAIM)})
        return here._run(["/bin/bash", "-c", script], b"")

    def on_terminal(self, *arguments: str, stdin: BinaryIO | None = None) -> str:
        """Run a command on a terminal and return what it shows."""
        screen, terminal = os.openpty()
        process = subprocess.Popen(
            [*XCLAIM, *arguments],
            cwd=self.folder,
            env=self.environment | {"TERM": "xterm"},
            stdin=terminal if stdin is None else stdin,
            stdout=terminal,
            stderr=terminal,
        )
        os.close(terminal)
        shown = b""
        with os.fdopen(screen, "rb", buffering=0) as output, suppress(OSError):  # closed, on Linux
            while part := output.read(4096):
                shown += part
        process.wait(PATIENCE)
        return shown.decode()

    def at(self, url: str) -> CommandLine:
        """Return the same with XCLAIM_DATABASE_URL set."""
        return replace(self, environment=self.environment | {"XCLAIM_DATABASE_URL": url})

    def _run(self, command: list[str], stdin: bytes) -> Outcome:
        # What hangs is ended by the limit of its test: a demo starts five Pythons.
        done = subprocess.run(
            command,
            input=stdin,
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            check=False,
        )
        stdout, stderr = done.stdout.decode(), done.stderr.decode()
        return Outcome(status=done.returncode, stdout=stdout, stderr=stderr)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewCommandLine(CommandLine):
    """Runs `xclaim` in a Python of its own, from its first import on."""

    def __call__(self, *arguments: str, stdin: str = "") -> Outcome:
        return self._run([*XCLAIM, *arguments], stdin.encode())
