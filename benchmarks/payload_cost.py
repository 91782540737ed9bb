"""What payload storage costs those who do not need it: `python -m benchmarks.payload_cost`.

Push, claim and ack of payloads of 100 bytes on PostgreSQL: a queue with ``Payloads(storage=...)``
takes turns with one without; and with the same again, which says how far two equal queues differ on
this machine. ``--before``: the ``src`` of an earlier checkout takes part as well, with a database
of its own migrations. Commits do not wait for the disk: that would hide a cost. About five minutes.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Mapping
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine, make_url, text

from benchmarks.payload_rounds import SHAPES
from benchmarks.sides.checkout import BEFORE, ROOT
from benchmarks.sides.process import Side, one_side
from benchmarks.turns import by_turns, keep, ratio, spread
from xclaim.embedded import embedded_postgresql

STORAGE, WITHOUT, AGAIN = "storage", "without", "without-again"
SETTINGS = {
    "shared_buffers": "1GB",
    "max_wal_size": "8GB",
    "checkpoint_timeout": "60min",
    "synchronous_commit": "off",
    # It visits one database after the other: the first had its dead rows removed long before the
    # last, and was a fifth faster for it.
    "autovacuum": "off",
}
_Figures = dict[str, Any]


def main() -> None:
    """Measure, print and keep."""
    options = _options()
    with embedded_postgresql(settings=SETTINGS) as url, tempfile.TemporaryDirectory() as folder:
        names = (STORAGE, WITHOUT, AGAIN, BEFORE) if options.before else (STORAGE, WITHOUT, AGAIN)
        rounds: dict[str, dict[str, list[tuple[float, float]]]] = {shape: {} for shape in SHAPES}
        # Several processes after one another: two that run the same code are not equally fast.
        for number in range(options.processes):
            queues = _queues(url, names, number, folder)
            _add(rounds, _session(queues, options))
    figures = {shape: _figures(shape, measured) for shape, measured in rounds.items()}
    for shape, shown in figures.items():
        print(shape, json.dumps(shown, indent=1))
    if not options.quick:
        keep("small payloads", {"goal": 0.98, **figures})


def _session(
    queues: Mapping[str, Mapping[str, str]], options: argparse.Namespace
) -> dict[str, dict[str, list[tuple[float, float]]]]:
    """Run some rounds of all contenders, those with today's code in one process."""
    today = {name: queue for name, queue in queues.items() if name != BEFORE}
    with ExitStack() as stack:
        asked = dict.fromkeys(today, stack.enter_context(_process(today, ROOT / "src")))
        if BEFORE in queues:
            earlier = _process({BEFORE: queues[BEFORE]}, options.before)
            asked[BEFORE] = stack.enter_context(earlier)
        measured = {}
        for shape in SHAPES:
            contenders: Any = {
                name: partial(asked[name].ask, act="round", name=name, shape=shape)
                for name in queues
            }
            by_turns(contenders, 2)  # plans are made, connections too
            measured[shape] = by_turns(contenders, options.rounds)
        return measured


def _figures(shape: str, measured: Mapping[str, list[tuple[float, float]]]) -> _Figures:
    count, _ = SHAPES[shape]
    rates = {name: [count / took for took, _ in each] for name, each in measured.items()}
    efforts = {name: [count / used for _, used in each] for name, each in measured.items()}
    pairs = [(STORAGE, WITHOUT), (AGAIN, WITHOUT)]
    pairs += [(WITHOUT, BEFORE), (STORAGE, BEFORE)] if BEFORE in measured else []
    return {
        "messages/s": {name: spread(each, 0) for name, each in rates.items()},
        "rate": {f"{one} / {other}": ratio(rates[one], rates[other]) for one, other in pairs},
        "messages per second of the client's processor": {
            f"{one} / {other}": ratio(efforts[one], efforts[other]) for one, other in pairs
        },
    }


def _add(
    rounds: dict[str, dict[str, list[tuple[float, float]]]],
    more: Mapping[str, Mapping[str, list[tuple[float, float]]]],
) -> None:
    for shape, measured in more.items():
        for name, each in measured.items():
            rounds[shape].setdefault(name, []).extend(each)


def _queues(
    url: str, names: tuple[str, ...], number: int, folder: str
) -> dict[str, dict[str, str]]:
    """Make an empty database for each contender."""
    queues = {}
    server = make_url(url)
    engine = create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        for name in names:
            database = f"{name}_{number}".replace("-", "_")
            connection.execute(text(f"CREATE DATABASE {database}"))
            own = server.set(database=database).render_as_string(hide_password=False)
            queues[name] = {"url": own}
    engine.dispose()
    queues[STORAGE]["storage"] = f"file://{folder}/objects"
    return queues


def _process(queues: Mapping[str, Mapping[str, str]], source: Path) -> AbstractContextManager[Side]:
    return one_side("benchmarks.payload_rounds", source, ", ".join(queues), json.dumps(queues))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.payload_cost", description=__doc__)
    parser.add_argument("--before", type=lambda path: Path(path).resolve(), metavar="SRC")
    parser.add_argument("--rounds", type=int, default=150, help="in each process")
    parser.add_argument("--processes", type=int, default=4, help="one after the other")
    parser.add_argument("--quick", action="store_true", help="keep nothing")
    return parser.parse_args()


if __name__ == "__main__":
    main()
