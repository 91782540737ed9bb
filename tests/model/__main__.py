"""Explore everything: `python -m tests.model`, or `make interleavings`.

Every pair of verbs in every scene, with connections that are really closed, and every triple in
the scene `one of each`, on PostgreSQL with a rollback for a crash: three times as fast. The same at
an ordering key and at the limits of a queue, in scenes of their own.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from tests import databases
from tests.model import slots, turns
from tests.model.explorer import (
    FAILING_PAIRS,
    PAIRS,
    SLOT_PAIRS,
    SLOT_TRIPLES,
    TRIPLES,
    TURN_PAIRS,
    TURN_TRIPLES,
    TWO_FAILING,
    VARIANT_PAIRS,
    explore,
)
from tests.model.scenes import SCENES
from tests.model.stages import Stage, stage_on
from xclaim.operations.migrate import upgrade

# A title, the verbs, the scenes they are explored in, and whether a crash is a rollback.
_GROUPS: list[tuple[str, Sequence[Sequence[str]], Sequence[str], bool]] = [
    ("pairs", PAIRS, list(SCENES), False),
    ("pairs with a retry or a refused push", VARIANT_PAIRS, list(SCENES), False),
    ("pairs with a failure", FAILING_PAIRS, list(SCENES), True),
    ("pairs of failures", TWO_FAILING, ["held", "lapsed", "lapsed last attempt"], True),
    ("triples", TRIPLES, ["one of each"], True),
    ("pairs at an ordering key", TURN_PAIRS, list(turns.SCENES), True),
    ("triples at an ordering key", TURN_TRIPLES, ["head claimed with a line"], True),
    ("pairs at the limits of a queue", SLOT_PAIRS, list(slots.SCENES), True),
    ("triples at the limits of a queue", SLOT_TRIPLES, ["one of two slots taken"], True),
]


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
    total = 0
    for title, group, scenes, rolls_back in _GROUPS:
        began = time.monotonic()
        with closing(stage_on(url, rolls_back=rolls_back)) as stage:
            stage.judges_each_end = True
            count = sum(_explore(stage, scenes, verbs) for verbs in group)
        seconds = time.monotonic() - began
        print(f"  {len(group)} {title}: {count:,} interleavings in {seconds:.0f} s")
        total += count
    return total


def _explore(stage: Stage, scenes: Sequence[str], verbs: Sequence[str]) -> int:
    count = sum(explore(stage, scene, verbs) for scene in scenes)
    print(f"    {', '.join(verbs):30} {count:5,}", flush=True)
    return count


if __name__ == "__main__":
    main()
