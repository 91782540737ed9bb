"""Write the verbs of AsyncQueue, which are those of Queue, awaited, and the loop of its stream.

    python -m tests.async_facade

Queue is written by hand. What its methods have in common with those of AsyncQueue, their names,
options and first lines, is not kept in step by hand: a test compares the file with this.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

XCLAIM = Path(__file__).parents[1] / "src" / "xclaim"
SOURCE, TARGET = XCLAIM / "queues" / "sync.py", XCLAIM / "queues" / "async_verbs.py"
LOOP = XCLAIM / "consuming" / "streaming.py"
BLOCKS = ("consume", "consume_many", "working_on")
# What asyncio does so differently that it is written by hand, in aio.py.
BY_HAND = ("transact", "stream", "read", "close")
RENAMED = {"AbstractContextManager": "AbstractAsyncContextManager", "Iterator": "AsyncIterator"}
MORE = {
    "consume": " The lease is extended from an asyncio task, so the block must not\n"
    "        keep the event loop busy for longer than the lease.",
    "consume_many": " With the caution of ``consume``.",
    "working_on": " With the caution of ``consume``.",
}
TALKS = ("stream.turn", "stream.close")  # to the database, for each batch
HEAD = '''"""The verbs and the stream of AsyncQueue: written by ``python -m tests.async_facade``."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from datetime import datetime, timedelta
from typing import Any, Generic, Unpack, overload

from xclaim import verbs
from xclaim.arguments import LEASE, LEASE_LIMIT, Loud, OnFull, PushOptions, WhenDead
from xclaim.claims import Claim, Ticket
from xclaim.connections.tasks import async_block, bridged
from xclaim.consuming.streaming import Stream
from xclaim.limits import Backlog, Limits, Pause
from xclaim.message import Counts, Failure, Message, T_co
from xclaim.queues.bound_queue import BoundQueue
from xclaim.retry import MAX_ATTEMPTS, Retry


class AsyncVerbs(Generic[T_co]):
    """What ``Queue`` does with its queue, awaitable."""

    _queue: BoundQueue
'''


class _Awaiting(ast.NodeTransformer):
    """Makes a blocking method one that awaits."""

    def visit_Call(self, node: ast.Call) -> ast.expr:
        target = ast.unparse(node.func)
        is_of_queue = target.startswith("self._queue.")
        if is_of_queue and target.rpartition(".")[2] in BLOCKS:
            return ast.Call(ast.Name("async_block"), [node], [])
        if is_of_queue or target in TALKS:
            return ast.Await(ast.Call(ast.Name("bridged"), [node.func, *node.args], node.keywords))
        return ast.Await(node) if target in ("self.claim_many", "self.push_many") else node

    def visit_Name(self, node: ast.Name) -> ast.Name:
        return ast.Name(RENAMED.get(node.id, node.id))


def facade() -> str:
    """Return the module, not formatted yet."""
    tree = ast.parse(SOURCE.read_text())
    (queue,) = (node for node in tree.body if isinstance(node, ast.ClassDef))
    methods = [
        _method(node)
        for node in queue.body
        if isinstance(node, ast.FunctionDef)
        and not node.name.startswith("_")
        and node.name not in BY_HAND
    ]
    return "\n\n".join([HEAD.rstrip(), *methods, _loop()])


def _method(node: ast.FunctionDef) -> str:
    if any(ast.unparse(each) == "overload" for each in node.decorator_list):
        text = ast.unparse(node).replace("\ndef ", "\nasync def ", 1)
        return "\n".join(f"    {line}".rstrip() for line in text.split("\n"))
    first = (ast.get_docstring(node) or "").split("\n")[0]
    node.body = node.body[1:]
    text = ast.unparse(ast.fix_missing_locations(_Awaiting().visit(node)))
    head, _, body = text.partition(":\n")
    if node.name not in BLOCKS:
        head = f"async {head}"
    reference = f"    As ``Queue.{node.name}``.{MORE.get(node.name, '')}"
    indented = "\n".join([head + ":", f'    """{first}', "", reference, '    """', body])
    return "\n".join(
        line if line.startswith("        keep the event") else f"    {line}".rstrip()
        for line in indented.split("\n")
    )


def _loop() -> str:
    tree = ast.parse(LOOP.read_text())
    (each,) = (node for node in tree.body if getattr(node, "name", None) == "each")
    return f"async {ast.unparse(ast.fix_missing_locations(_Awaiting().visit(each)))}"


if __name__ == "__main__":
    TARGET.write_text(facade())
    subprocess.run([sys.executable, "-m", "ruff", "format", str(TARGET)], check=True)
