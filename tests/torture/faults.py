"""What can go wrong, one function each, and who lets it.

A fault returns whether it happened: there must be something to hit.
"""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from random import Random
from typing import Any

import psycopg

from tests.clusters import Server
from tests.pgbouncer import Bouncer
from tests.torture.crew import Crew
from tests.torture.disk import Disk
from tests.torture.network import Network

_LONGEST_LEASE = 3.0
APPLICATION = "injector"  # our own connections


def _some_sessions(count: int, condition: str = "true") -> str:
    return (
        "(SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend'"
        f" AND usename = 'worker' AND application_name <> '{APPLICATION}' AND {condition}"
        f" ORDER BY random() LIMIT {count}) AS session"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """All that can be broken."""

    server: Server
    url: str  # of the database, for psycopg, as a worker
    crew: Crew
    network: Network
    bouncer: Bouncer | None
    disk: Disk | None


Fault = Callable[[Field, Random], object]


def worker_killed(field: Field, random: Random) -> object:
    field.crew.kill_one(random)
    return True


def worker_stopped_past_its_lease(field: Field, random: Random) -> object:
    return field.crew.stop_one(random, _LONGEST_LEASE + random.uniform(0.3, 1.5))


def worker_clock_skewed(field: Field, random: Random) -> object:
    field.crew.skew_one(random)
    return True


def session_terminated(field: Field, _random: Random) -> object:
    return field.server.execute(f"SELECT pg_terminate_backend(pid) FROM {_some_sessions(1)}")


def statement_cancelled(field: Field, _random: Random) -> object:
    busy = _some_sessions(2, "state <> 'idle'")
    return field.server.execute(f"SELECT pg_cancel_backend(pid) FROM {busy}")


def backend_killed(field: Field, _random: Random) -> object:
    """Kill a process of the server, as the kernel does when memory is short: all sessions end."""
    rows = field.server.execute(f"SELECT pid FROM {_some_sessions(1)}")
    for (pid,) in rows:
        os.kill(int(str(pid)), signal.SIGKILL)
    return rows


def server_shut_down_immediately(field: Field, random: Random) -> object:
    field.server.kill(signal.SIGQUIT)
    time.sleep(random.uniform(0, 0.5))
    field.server.start()
    return True


def server_killed(field: Field, random: Random) -> object:
    field.server.kill(signal.SIGKILL)
    time.sleep(random.uniform(0, 0.5))
    field.server.start()
    return True


def connections_exhausted(field: Field, random: Random) -> object:
    """Take every free connection, also those of some workers, who then cannot connect."""
    with ExitStack() as stack:
        _take_all(field, stack)
        for _ in range(3):
            session_terminated(field, random)
            time.sleep(0.02)
            _take_all(field, stack)
        time.sleep(random.uniform(0.3, 1.0))
    return True


def table_locked(field: Field, random: Random) -> object:
    """Lock the table for longer than some leases."""
    with psycopg.connect(field.url) as connection:
        connection.execute("LOCK TABLE xclaim_message IN ACCESS EXCLUSIVE MODE")
        time.sleep(random.uniform(0.3, 1.5))
    return True


def disk_full(field: Field, random: Random) -> object:
    if field.disk is None:
        return False
    field.disk.fill()
    try:
        time.sleep(random.uniform(0.5, 1.5))
    finally:
        field.disk.make_room()
    return True


def connections_cut(field: Field, random: Random) -> object:
    return field.network.cut(random)


def network_slow(field: Field, random: Random) -> object:
    return field.network.slow_down(random, random.uniform(0.5, 2))


def network_silent(field: Field, random: Random) -> object:
    return field.network.silence(random, random.uniform(0.5, _LONGEST_LEASE + 1))


def answer_swallowed(field: Field, random: Random) -> object:
    return field.network.swallow(random, b"")


def answer_to_commit_swallowed(field: Field, random: Random) -> object:
    return field.network.swallow(random, b"COMMIT")


def pooler_killed(field: Field, random: Random) -> object:
    if field.bouncer is None:
        return False
    field.bouncer.kill()
    time.sleep(random.uniform(0, 0.5))
    field.bouncer.start()
    return True


# How often each comes about, relative to the others; what stops everybody is rarer.
FAULTS: dict[Fault, int] = {
    worker_killed: 4,
    worker_stopped_past_its_lease: 4,
    worker_clock_skewed: 2,
    session_terminated: 4,
    statement_cancelled: 2,
    backend_killed: 1,
    server_shut_down_immediately: 1,
    server_killed: 1,
    connections_exhausted: 1,
    table_locked: 1,
    disk_full: 1,
    connections_cut: 3,
    network_slow: 2,
    network_silent: 2,
    answer_swallowed: 4,
    answer_to_commit_swallowed: 3,
    pooler_killed: 2,
}


class Injector:
    """Deals the faults from a shuffled deck, so that also a short run has most of them."""

    def __init__(self, field: Field, random: Random) -> None:
        self.counts: Counter[str] = Counter()
        self._field = field
        self._random = random
        self._deck: list[Fault] = []

    def inject(self) -> None:
        """Let one thing go wrong, if it can."""
        if not self._deck:
            self._deck = self._shuffled()
        fault = self._deck.pop()
        try:
            happened = fault(self._field, self._random)
        except psycopg.OperationalError:
            return  # the server was just recovering from another fault
        if happened:
            self.counts[fault.__name__.replace("_", " ")] += 1

    def _shuffled(self) -> list[Fault]:
        first = list(FAULTS)
        more = [fault for fault, weight in FAULTS.items() for _ in range(weight - 1)]
        self._random.shuffle(first)
        self._random.shuffle(more)
        return [*more, *first]  # dealt from the end


def _take_all(field: Field, stack: ExitStack) -> None:
    while True:
        try:
            connection: psycopg.Connection[Any] = psycopg.connect(field.url)
        except psycopg.OperationalError:
            return
        stack.enter_context(connection)
