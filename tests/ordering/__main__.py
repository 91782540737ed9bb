"""Race for long: `python -m tests.ordering --minutes 2`, as `make torture` does after the rest."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from tests import databases
from tests.ordering.race import Settings, run
from xclaim.operations import ordering
from xclaim.operations.migrate import upgrade

_KEYS = (3, 60, 2_000)


def main() -> int:
    """Race on both databases, with few keys and many; return 1 if a promise was broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.ordering", description=__doc__)
    parser.add_argument("--minutes", type=float, default=2.0, help="of all races together (2)")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    seconds = options.minutes * 60 / (len(_KEYS) + 1)
    is_broken = False
    with tempfile.TemporaryDirectory() as folder, databases.postgresql_server() as server:
        for keys in _KEYS:
            with databases.temporary_database(server.url) as url:
                is_broken |= _race(url, Path(folder), seconds, keys, 8, options.seed)
        databases.disconnect(server.url)
        sqlite_url = databases.sqlite_url(Path(folder) / "xclaim.db")
        is_broken |= _race(sqlite_url, Path(folder), seconds, 10, 4, options.seed)
    return int(is_broken)


def _race(url: str, folder: Path, seconds: float, keys: int, processes: int, seed: int) -> bool:
    upgrade(url)
    ordering.enable(url)
    logs = Path(tempfile.mkdtemp(dir=folder))
    result = run(
        Settings(url=url, folder=logs, seconds=seconds, keys=keys, processes=processes, seed=seed)
    )
    print(f"{url.partition(':')[0]}, {keys} keys, {processes} processes: {result}", flush=True)
    for each in result.broken[:20]:
        print(f"  {each}")
    return bool(result.broken)


if __name__ == "__main__":
    sys.exit(main())
