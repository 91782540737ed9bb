"""The command line: parse, call one method of a Queue, render JSON lines or a table.

Exit status: 0 done, 1 nothing to claim, 2 wrong use, 3 claim lost, 4 the database (unreachable, or
its schema is missing or of another version), 74 stdin or stdout failed, 130 interrupted, 141 nobody
reads the output any more.
"""

from __future__ import annotations

from xclaim.cli.app import main

__all__ = ["main"]
