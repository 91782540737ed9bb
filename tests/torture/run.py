"""One run: start everything, let things go wrong, drain the queue, and compare."""

from __future__ import annotations

import secrets
import shutil
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import psycopg
from sqlalchemy import make_url
from sqlalchemy.exc import OperationalError

from tests.clusters import Server, new_server
from tests.pgbouncer import PROGRAM, Bouncer
from tests.torture import checker
from tests.torture.consumer import QUEUE, RETRY
from tests.torture.crew import Crew
from tests.torture.disk import small_disk
from tests.torture.faults import APPLICATION, Field, Injector
from tests.torture.logs import gather
from tests.torture.network import Network
from tests.torture.report import summarize
from tests.torture.workers import Role
from xclaim import Queue, create_engine
from xclaim.operations import migrate

_PRODUCERS = 4
_SESSIONS = 12  # of one worker and its child, as a rule
_SETTINGS = {
    "max_wal_size": "256MB",  # what is to be recovered after a kill
    "checkpoint_timeout": "30s",
    "autovacuum_naptime": "5s",
}
_DISK_MEGABYTES_FOR_MESSAGES = 0.01
_DISK_MEGABYTES = 256
_DRAIN_SECONDS = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What is asked for."""

    minutes: float
    workers: int
    seed: int
    messages_per_second: float  # 0: as many as the consumers keep up with
    pause: float  # seconds between two faults, on average
    output: Path


def run(settings: Settings, tell: Callable[[str], object] = print) -> dict[str, Any]:
    """Torture a queue, and return the summary."""
    logs = settings.output / "logs"
    shutil.rmtree(logs, ignore_errors=True)
    logs.mkdir(parents=True)
    with ExitStack() as stack:
        field = _prepare(settings, logs, stack)
        injector = Injector(field, Random(f"{settings.seed} faults"))
        began_at = time.monotonic()
        rate = settings.messages_per_second
        field.crew.hire(Role.CONSUMER, settings.workers, seed=settings.seed)
        field.crew.hire(Role.PRODUCER, _PRODUCERS, seed=settings.seed, messages_per_second=rate)
        _torture(settings, field, injector, tell)
        tell("the faults are over, draining")
        field.crew.dismiss(Role.PRODUCER)
        drained = _drain(field)
        took = time.monotonic() - began_at
        field.crew.dismiss(Role.CONSUMER)
        engine = create_engine(field.url)
        beliefs = gather(logs)
        findings = checker.check(beliefs, *checker.read_table(engine))
        engine.dispose()
        findings.violations["unexpected"] += field.crew.crashes
        if not drained:
            findings.violations["not consumed"].append(f"not drained in {_DRAIN_SECONDS} s")
        return summarize(
            settings, field, injector.counts, beliefs=beliefs, findings=findings, seconds=took
        )


def _torture(
    settings: Settings, field: Field, injector: Injector, tell: Callable[[str], object]
) -> None:
    random = Random(f"{settings.seed} pauses")
    ends_at = time.monotonic() + settings.minutes * 60
    tell_at = 0.0
    while time.monotonic() < ends_at:
        time.sleep(settings.pause * random.uniform(0.5, 1.5))
        injector.inject()
        field.crew.replace_crashed()
        if not field.server.is_running:  # by itself: not expected, and not ours to judge
            field.crew.crashes.append("the server ended by itself")
            field.server.start()
        if time.monotonic() > tell_at:
            tell_at = time.monotonic() + 15
            left = ends_at - time.monotonic()
            tell(f"{left:4.0f} s left, {injector.counts.total()} faults, {_progress(field)}")


def _prepare(settings: Settings, logs: Path, stack: ExitStack) -> Field:
    expected = settings.minutes * 60 * (settings.messages_per_second or 1_000)
    megabytes = _DISK_MEGABYTES + int(_DISK_MEGABYTES_FOR_MESSAGES * expected)
    disk = stack.enter_context(small_disk(megabytes))
    connections = {"max_connections": str(20 + _SESSIONS * settings.workers)}
    server = stack.enter_context(new_server(_SETTINGS | connections))
    url = _create_database(server, disk.folder if disk else None)
    migrate.upgrade(url)
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.exec_driver_sql(checker.EFFECTS)
    engine.dispose()
    network = stack.enter_context(Network(server.port))
    # Half of the workers by the network that can be cut, the others as it comes.
    proxied = make_url(url).set(port=network.port).render_as_string(hide_password=False)
    routes = [url, proxied, proxied]
    bouncer = None
    if PROGRAM is not None:
        bouncer = Bouncer(url.partition("?")[0], settings.output, pool_size=10)
        routes.append(stack.enter_context(bouncer) + "&connect_timeout=5")
    crew = Crew(logs, routes, Random(f"{settings.seed} crew"))
    stack.callback(crew.kill_all)
    return Field(
        server=server,
        url=f"{url}&application_name={APPLICATION}",
        crew=crew,
        network=network,
        bouncer=bouncer,
        disk=disk,
    )


def _create_database(server: Server, folder: Path | None) -> str:
    """Create a database of an ordinary user; as a tablespace on the small disk, if there is one.

    The write-ahead log is on the large one. Superusers keep the connections reserved for them.
    """
    password = secrets.token_hex(16)
    server.execute(f"CREATE ROLE worker LOGIN PASSWORD '{password}'")
    tablespace = ""
    if folder is not None:
        if server.files.account is not None:
            server.files.account.give(folder)
        server.execute(f"CREATE TABLESPACE small LOCATION '{folder}'")
        tablespace = "TABLESPACE small"
    server.execute(f"CREATE DATABASE torture OWNER worker {tablespace}")
    return f"postgresql://worker:{password}@127.0.0.1:{server.port}/torture?connect_timeout=5"


def _drain(field: Field) -> bool:
    """Wait until all is consumed or dead; return whether that came about."""
    deadline = time.monotonic() + _DRAIN_SECONDS
    engine = create_engine(field.url)
    queue = Queue(QUEUE, engine, retry=RETRY)
    try:
        while time.monotonic() < deadline:
            field.crew.replace_crashed()
            with suppress(OperationalError):  # still recovering from the last fault
                queue.expire()
                counts = queue.counts()
                if counts.available + counts.delayed + counts.claimed == 0:
                    return True
            time.sleep(0.2)
        return False
    finally:
        engine.dispose()


def _progress(field: Field) -> str:
    try:
        with psycopg.connect(field.url) as connection:
            rows = connection.execute(
                "SELECT status, count(*) FROM xclaim_message GROUP BY status ORDER BY status"
            ).fetchall()
    except psycopg.OperationalError:
        return "no answer"
    return ", ".join(f"{count} {status}" for status, count in rows)
