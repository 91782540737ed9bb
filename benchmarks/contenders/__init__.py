"""Who takes part. A contender is imported where it is used: only then its package is needed."""

from __future__ import annotations

from importlib import import_module

from benchmarks.contenders.contender import Contender

XCLAIM = "xclaim"
STREAM = "xclaim stream"
SAME = "same statements by hand"
SHORTEST = "shortest by hand"
BY_HAND = (SAME, SHORTEST)
PEERS = ("pgmq", "pgmq archive", "pgqueuer", "procrastinate", "awa")
POSTGRESQL = (XCLAIM, *BY_HAND, *PEERS)

SQLITE_XCLAIM = "xclaim on SQLite"
SQLITE_BY_HAND = "sqlite3 by hand"
SQLITE_PEERS = ("litequeue", "persist-queue")
SQLITE = (SQLITE_XCLAIM, SQLITE_BY_HAND, *SQLITE_PEERS)

_CLASSES = {
    XCLAIM: ("xclaim_queue", "Xclaim"),
    STREAM: ("xclaim_queue", "XclaimStream"),
    SAME: ("handwritten", "SameStatements"),
    SHORTEST: ("handwritten", "Shortest"),
    "pgmq": ("pgmq_queue", "Pgmq"),
    "pgmq archive": ("pgmq_queue", "PgmqArchive"),
    "pgqueuer": ("pgqueuer_queue", "Pgqueuer"),
    "procrastinate": ("procrastinate_queue", "Procrastinate"),
    "awa": ("awa_queue", "Awa"),
    SQLITE_XCLAIM: ("xclaim_queue", "XclaimSqlite"),
    SQLITE_BY_HAND: ("sqlite_handwritten", "SqliteHandwritten"),
    "litequeue": ("litequeue_queue", "Litequeue"),
    "persist-queue": ("persistqueue_queue", "Persistqueue"),
}


def load(name: str) -> Contender:
    """Return the contender. Raise ImportError naming the group when its package is missing."""
    module, cls = _CLASSES[name]
    try:
        contender: Contender = getattr(import_module(f"benchmarks.contenders.{module}"), cls)()
    except ImportError as error:
        raise ImportError(
            f"{name} needs a package that is not installed ({error}): run `make bench`, or "
            "pip install --group bench -e '.[embedded]'"
        ) from error
    return contender
