"""Explore everything: `python -m tests.model`, or `make interleavings`.

Every pair of verbs in every scene, with connections that are really closed, and every triple in
the scene `one of each`, on PostgreSQL with a rollback for a crash: three times as fast.
"""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path

from tests import databases
from tests.model.explorer import PAIRS, TRIPLES, VARIANT_PAIRS, explore
from tests.model.scenes import SCENES
from tests.model.stages import stage_on
from xclaim.migrate import upgrade

Task = tuple[str, Sequence[str]]  # a scene and its verbs

_PAIRS: list[Task] = [(scene, verbs) for verbs in PAIRS for scene in SCENES]
_VARIANTS: list[Task] = [(scene, verbs) for verbs in VARIANT_PAIRS for scene in SCENES]
_TRIPLES: list[Task] = [("one of each", verbs) for verbs in TRIPLES]


def main() -> None:
    """Explore on both databases, and print how many interleavings there are."""
    began = time.monotonic()
    total = 0
    with tempfile.TemporaryDirectory() as folder, databases.postgresql_server() as server:
        sqlite_url = databases.sqlite_url(Path(folder) / "xclaim.db")
        upgrade(sqlite_url)
        total += _explore_all("SQLite", sqlite_url)
        with databases.temporary_database(server.url) as url:
            upgrade(url)
            total += _explore_all(databases.describe_server(server), url)
        databases.disconnect(server.url)
    print(f"{total:,} interleavings in {time.monotonic() - began:.0f} s, no promise broken")


def _explore_all(database: str, url: str) -> int:
    print(database)
    return sum(
        _explore(title, url, tasks, rolls_back=rolls_back)
        for title, tasks, rolls_back in (
            ("pairs", _PAIRS, False),
            ("pairs with a retry or a refused push", _VARIANTS, False),
            ("triples", _TRIPLES, True),
        )
    )


def _explore(title: str, url: str, tasks: Iterable[Task], *, rolls_back: bool) -> int:
    began = time.monotonic()
    counts: Counter[str] = Counter()
    with closing(stage_on(url, rolls_back=rolls_back)) as stage:
        for scene, verbs in tasks:
            counts[", ".join(verbs)] += explore(stage, scene, verbs)
    for names, count in counts.items():
        print(f"  {names:30} {count:7,}")
    total = counts.total()
    print(f"  all {len(counts)} {title}: {total:,} interleavings, {time.monotonic() - began:.0f} s")
    return total


if __name__ == "__main__":
    main()
