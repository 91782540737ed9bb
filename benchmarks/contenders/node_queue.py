"""The peers for Node: pg-boss and graphile-worker, each session a process of Node.

`python -m benchmarks.contenders.node_queue` (`make bench`) installs them, at the versions in
`benchmarks/node/package-lock.json`. A process that was started is used again by the next session:
how long Node takes to start and to import is not measured.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from benchmarks.contenders.contender import MissingError, Payload
from benchmarks.sides.process import Side
from tests import node

FOLDER = Path(__file__).parents[1] / "node"
_idle: dict[str, list[Side]] = {}


def install() -> None:
    """Install the packages, unless they are there."""
    node.npm("ci", folder=FOLDER)


def _take(peer: str, package: str) -> Side:
    """Return a process that nobody uses, a new one if there is none."""
    if waiting := _idle.get(peer):
        return waiting.pop()
    try:
        program = node.program()
    except ImportError as error:
        raise MissingError(f"{package} needs Node: {error}") from error
    if not (FOLDER / "node_modules" / package).exists():
        raise MissingError(f"npm has not installed {package}: `make bench` does")
    process = subprocess.Popen(
        [str(program), "driver.js", peer],
        cwd=FOLDER,
        text=True,
        stdin=subprocess.PIPE,  # it ends when this is closed, by our end at the latest
        stdout=subprocess.PIPE,
    )
    side = Side(package, process)
    side.ask(act="imported")
    return side


def _give_back(peer: str, side: Side) -> None:
    _idle.setdefault(peer, []).append(side)


class _Session:
    """A connection that a process of Node has."""

    def __init__(self, peer: str, package: str, url: str) -> None:
        self._peer, self._side = peer, _take(peer, package)
        self._side.ask(act="open", url=url)

    def push(self, payloads: Sequence[Payload]) -> None:
        """Push each by a call of its own, all of them by one order."""
        self._push("push", payloads)

    def push_many(self, payloads: Sequence[Payload]) -> None:
        """Push all by one call."""
        self._push("push_many", payloads)

    def push_ordered(self, payloads: Sequence[Payload], keys: int) -> None:
        """Push each by a call of its own, in the order of so many keys."""
        self._push("push_ordered", payloads, keys=keys)

    def consume_ordered(self, limit: int) -> list[int]:
        """Claim and ack one at a time: named queues are always kept in order."""
        return self.consume(limit, 1)

    def _push(self, act: str, payloads: Sequence[Payload], **options: int) -> None:
        # Only what differs is sent: the way into the other process is not what is measured.
        (text,) = {payload["text"] for payload in payloads}
        numbers = [payload["n"] for payload in payloads]
        self._side.ask(act=act, numbers=numbers, text=text, **options)

    def consume(self, limit: int, batch: int) -> list[int]:
        """Claim and ack by calls of their own, all of them by one order."""
        consumed: list[int] = self._side.ask(act="consume", limit=limit, batch=batch)
        return consumed

    def close(self) -> None:
        """Disconnect, and leave the process to the next session."""
        self._side.ask(act="close")
        _give_back(self._peer, self._side)


class PgBoss:
    """pg-boss, of Node's queues on PostgreSQL the one that is used most."""

    name = "pg-boss"
    package: str | None = "pg-boss"
    database = "postgresql"
    unconsumed = "SELECT count(*) FROM pgboss.job WHERE name = 'bench' AND state <> 'completed'"
    note = (
        "On Node: send and insert, fetch and complete as its worker calls them, its supervision,"
        " monitoring and cron switched off. Keeps completed jobs for a time. Fenced by how often a"
        " job was tried."
    )
    _peer = "pg_boss"

    def install(self, url: str) -> None:
        """Create its schema and the queue."""
        side = _take(self._peer, str(self.package))
        side.ask(act="install", url=url)
        _give_back(self._peer, side)

    def open(self, url: str) -> _Session:
        """Connect."""
        return _Session(self._peer, str(self.package), url)


class GraphileWorker(PgBoss):
    """graphile-worker."""

    name = "graphile-worker"
    package = "graphile-worker"
    unconsumed = "SELECT count(*) FROM graphile_worker._private_jobs"
    note = (
        "On Node: addJob and addJobs, and the functions with which its worker gets and completes"
        " jobs, as with localQueue and completeJobBatchDelay when in batches. An ack deletes the"
        " job: no history. No fencing."
    )
    _peer = "graphile_worker"


if __name__ == "__main__":
    install()
