"""A SQLite file that another process is writing to."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_WRITER = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN " + sys.argv[2])
print("has begun", flush=True)
sys.stdin.read()
"""


@contextmanager
def file_held(url: str, how: str = "IMMEDIATE") -> Iterator[Callable[[], object]]:
    """Keep all other writers waiting until the block ends, or what it is given is called.

    If EXCLUSIVE, a file that is not in WAL mode also keeps readers waiting.
    """
    file, _, _ = url.removeprefix("sqlite:///").partition("?")
    command = [sys.executable, "-c", _WRITER, file, how]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as writer:
        assert writer.stdin is not None
        assert writer.stdout is not None
        try:
            assert writer.stdout.readline() == b"has begun\n"
            yield writer.stdin.close
        finally:
            writer.stdin.close()
