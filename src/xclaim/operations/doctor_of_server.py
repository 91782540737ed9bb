"""What the doctor says of the server and of the session with it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Engine

from xclaim.connections.autocommit import needs_transaction
from xclaim.connections.direct import run
from xclaim.operations.findings import Finding, Level, moment
from xclaim.sql.revision import qualified, quoted
from xclaim.sql.schema import AUTOVACUUM, SLOT_TABLE_NAME, TABLE_NAME
from xclaim.sql.statements import diagnosing
from xclaim.verbs.ordering import is_enabled

_OLD_SNAPSHOT = 300.0  # seconds; dead rows begin to be felt after minutes of busy work
_OLD_TRANSACTIONS = 50_000  # the same where no time is known: of slots, and of standbys
_CLOCKS_APART = 2.0  # seconds
_BLOATED = 64 * 2**20, 400  # bytes of an index, and of each of its entries (usually about 60)
_MANY_DEAD = 50_000, 0.5  # dead rows, and their share of all
_MANY_DEAD_SLOTS = 10_000  # some hundred pages more for a claim of a limited queue
_CONNECTIONS_LEFT = 0.1


def citus(connection: Connection, schema: str | None) -> Iterator[Finding]:
    """Yield where Citus has put the schema."""
    for found in run(connection, diagnosing.citus(), {}):
        nodes = _nodes_of_citus(connection, schema)
        where = f"on {', '.join(nodes)}: its sizes, dead rows and vacuum are to be seen there"
        yield Finding(
            name="citus",
            level=Level.OK,
            found=f"Citus {found.version} has the schema {where if nodes else 'on this node'}",
        )


def _nodes_of_citus(connection: Connection, schema: str | None) -> list[str]:
    """Return the nodes to which Citus has moved the rows: the table here is an empty shell."""
    if not run(connection, diagnosing.citus(), {}):
        return []
    return [row.address for row in run(connection, diagnosing.citus_nodes(), {"schema": schema})]


def bloat(connection: Connection, schema: str | None) -> Iterator[Finding]:
    """Yield indexes that are much larger than what is in them."""
    if _nodes_of_citus(connection, schema):
        return
    largest, per_entry = _BLOATED
    rows = [
        row
        for name in (TABLE_NAME, SLOT_TABLE_NAME)
        for row in run(connection, diagnosing.indexes(name), {"schema": schema})
    ]
    bloated = [row for row in rows if row.size > max(largest, per_entry * row.entries)]
    for row in bloated:
        yield Finding(
            name="bloat",
            level=Level.WARNING,
            found=f"{row.name} has {row.size / 2**20:.0f} MB for {row.entries:.0f} entries",
            remedy=f"REINDEX INDEX CONCURRENTLY {qualified(row.name, schema)}; then see "
            "old_snapshots and autovacuum",
        )
    if not bloated:
        size = sum(row.size for row in rows) / 2**20
        yield Finding(name="bloat", level=Level.OK, found=f"indexes of {size:.0f} MB in all")


def old_snapshots(connection: Connection, schema: str | None) -> Iterator[Finding]:
    """Yield what keeps dead rows from being removed."""
    rows = run(connection, diagnosing.old_snapshots(), {})
    old = [row for row in rows if _is_old(row)]
    slows = bool(old) and is_enabled(connection, schema)
    for row in old:
        yield Finding(
            name="old_snapshots",
            level=Level.WARNING,
            found=f"{row.kind} {row.name} ({row.detail}) keeps what died in the last {row.age} "
            "transactions from being removed"
            + ("; of a busy ordering key each message takes longer" if slows else ""),
            remedy=_HOW_TO_END[row.kind].format(name=row.name.replace("'", "''")),
        )
    if not old:
        yield Finding(name="old_snapshots", level=Level.OK, found="none older than five minutes")


def _is_old(row: Any) -> bool:
    if row.seconds is None:  # a standby with feedback always has one, usually of this moment
        return bool(row.age > _OLD_TRANSACTIONS)
    return bool(row.seconds > _OLD_SNAPSHOT)


_HOW_TO_END = {
    "backend": "end its transaction, or SELECT pg_terminate_backend({name}); "
    "idle_in_transaction_session_timeout does it by itself",
    "prepared transaction": "COMMIT PREPARED or ROLLBACK PREPARED '{name}'",
    "replication slot": "start its consumer, or SELECT pg_drop_replication_slot('{name}')",
    "standby": "end the long query there, or switch hot_standby_feedback off",
}


def autovacuum(connection: Connection, schema: str | None) -> Iterator[Finding]:
    """Yield whether the table is vacuumed."""
    table = qualified(TABLE_NAME, schema)
    settings = _settings(connection)
    (health,) = run(connection, diagnosing.table_health(), {"schema": schema})
    if settings["autovacuum"] != "on" or settings["track_counts"] != "on":
        yield Finding(
            name="autovacuum",
            level=Level.PROBLEM,
            found="autovacuum is off: dead rows stay, and claims get slower and slower",
            remedy="ALTER SYSTEM SET autovacuum = on (and track_counts), then pg_reload_conf()",
        )
    told = {option.partition("=")[0] for option in health.options or []}
    if missing := sorted(set(AUTOVACUUM) - told):
        yield Finding(
            name="autovacuum",
            level=Level.WARNING,
            found=f"the table has not its own settings: {', '.join(missing)}",
            remedy=f"ALTER TABLE {table} SET ("
            + ", ".join(f"{name} = {AUTOVACUUM[name]}" for name in missing)
            + ")",
        )
    if _nodes_of_citus(connection, schema):
        return
    dead, live = health.dead or 0, health.live or 0
    least, share = _MANY_DEAD
    is_bad = dead > least and dead > share * (live + dead)
    yield Finding(
        name="autovacuum",
        level=Level.WARNING if is_bad else Level.OK,
        found=f"{dead} dead rows beside {live} live ones, last vacuum {moment(health.vacuumed_at)}",
        remedy=f"VACUUM (VERBOSE) {table} says what keeps them" if is_bad else None,
    )
    yield from _dead_slots(connection, schema)


def _dead_slots(connection: Connection, schema: str | None) -> Iterator[Finding]:
    """Yield that a claim of a limited queue passes by many slots as they were before."""
    table = qualified(SLOT_TABLE_NAME, schema)
    for health in run(connection, diagnosing.table_health(SLOT_TABLE_NAME), {"schema": schema}):
        if (health.dead or 0) > _MANY_DEAD_SLOTS:
            yield Finding(
                name="autovacuum",
                level=Level.WARNING,
                found=f"{health.dead} dead rows in {SLOT_TABLE_NAME}: each claim of a limited "
                "queue reads those of its slots",
                remedy=f"see old_snapshots; VACUUM (VERBOSE) {table} says what keeps them",
            )


def durability(connection: Connection, _schema: str | None) -> Iterator[Finding]:
    """Yield what a crash of the server would lose."""
    settings = _settings(connection)
    off = [name for name in ("fsync", "full_page_writes") if settings[name] != "on"]
    if settings["synchronous_commit"] == "off":
        off.append("synchronous_commit")
    yield Finding(
        name="durability",
        level=Level.WARNING if off else Level.OK,
        found=f"off: {', '.join(off)}; a crash can undo acks that were answered"
        if off
        else "a commit is on disk when it is answered",
        remedy="switch them on, unless the data is disposable" if off else None,
    )
    standbys = run(connection, diagnosing.standbys(), {})
    if standbys and all(standby.sync_state == "async" for standby in standbys):
        yield Finding(
            name="durability",
            level=Level.WARNING,
            found=f"standbys follow asynchronously: {', '.join(each.name for each in standbys)}; "
            "a failover can undo acks that were answered",
            remedy="set synchronous_standby_names, or make the work idempotent by message.id",
        )


def connections(connection: Connection, _schema: str | None) -> Iterator[Finding]:
    """Yield whether there are connections left."""
    most = int(_settings(connection)["max_connections"])
    used = run(connection, diagnosing.connections(), {})[0].connections
    is_tight = most - used < _CONNECTIONS_LEFT * most
    yield Finding(
        name="connections",
        level=Level.WARNING if is_tight else Level.OK,
        found=f"{used} of {most} are in use",
        remedy="raise max_connections, or put pgbouncer in between" if is_tight else None,
    )


def session(connection: Connection, _schema: str | None) -> Iterator[Finding]:
    """Yield settings of the session that are not as the tested ones."""
    driver: Any = connection.connection.driver_connection
    reported = driver.pgconn.parameter_status(b"server_encoding")  # not by all poolers
    encoding = "UTF8" if reported is None else reported.decode()
    is_stricter = needs_transaction(connection, driver)
    if encoding != "UTF8":
        yield Finding(
            name="session",
            level=Level.WARNING,
            found=f"the database is in {encoding}: what it cannot hold is refused at push, and of "
            "errors only ASCII is kept as it is",
            remedy="create the database with ENCODING 'UTF8'",
        )
    if is_stricter:
        yield Finding(
            name="session",
            level=Level.WARNING,
            found="transactions are stricter than READ COMMITTED by default, so each verb takes "
            "two more round trips",
            remedy="ALTER ROLE ... SET default_transaction_isolation = 'read committed', for the "
            "roles that use queues",
        )
    if encoding == "UTF8" and not is_stricter:
        yield Finding(name="session", level=Level.OK, found="in UTF8 and READ COMMITTED")


def writable(connection: Connection, _schema: str | None) -> Iterator[Finding]:
    """Yield whether the session can write."""
    (row,) = run(connection, diagnosing.read_only(), {})
    if not row.is_read_only:
        yield Finding(name="writable", level=Level.OK, found="the server takes what is written")
        return
    found = "it is a standby" if row.is_standby else "default_transaction_read_only is on"
    yield Finding(
        name="writable",
        level=Level.PROBLEM,
        found=f"nothing can be written here, {found}: no push, claim or ack works",
        remedy="connect to the primary: name all hosts in the URL, and "
        "target_session_attrs=read-write"
        if row.is_standby
        else "set it off for the server, the database and the role, unless this is an old primary",
    )


def search_path(connection: Connection, schema: str | None) -> Iterator[Finding]:
    """Yield schemas of the path that others may write to."""
    rows = run(connection, diagnosing.open_path(), {})
    risk = "" if schema else ": a table of our name that is found first would be taken for ours"
    other = "" if schema else "; or name the schema of the table, schema=..."
    for row in rows:
        roles = ", ".join(role if role == "PUBLIC" else quoted(role) for role in row.roles)
        yield Finding(
            name="search_path",
            level=Level.WARNING,
            found=f"{roles} may create objects in the {row.kind.lower()} {row.name!r}, where the "
            f"search path looks{risk}",
            remedy=f"REVOKE CREATE ON {row.kind} {quoted(row.name)} FROM {roles}{other}",
        )
    if not rows:
        found = "nobody else may create objects where it looks"
        yield Finding(name="search_path", level=Level.OK, found=found)


def clock(connection: Connection, _schema: str | None) -> Iterator[Finding]:
    """Yield how far apart the clocks are."""
    asked_at = datetime.now(UTC)
    server = _backend(connection).now
    answered_at = datetime.now(UTC)
    apart = (server - (asked_at + (answered_at - asked_at) / 2)).total_seconds()
    is_apart = abs(apart) > _CLOCKS_APART
    yield Finding(
        name="clock",
        level=Level.WARNING if is_apart else Level.OK,
        found=f"the server's is {apart:+.1f} s from this machine's",
        remedy="set both by NTP; leases go by the server's alone" if is_apart else None,
    )


def pooler(engine: Engine) -> Finding:
    """Tell whether a pooler is in between: it gives out process numbers of its own."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        serving = _backend(connection).pid
        driver: Any = connection.connection.driver_connection
        if driver.info.backend_pid == serving:
            return Finding(name="pooler", level=Level.OK, found="none in between")
        is_prepared = driver.prepare_threshold is not None
        is_shared = _is_shared(engine, serving)
    if is_shared and is_prepared:
        return Finding(
            name="pooler",
            level=Level.WARNING,
            found="one in transaction mode, and prepared statements are on",
            remedy="append ?prepare_threshold=none to the URL, unless it is pgbouncer 1.22 or "
            "later with max_prepared_statements; wake-ups do not pass it",
        )
    mode = "transaction mode: wake-ups do not pass it" if is_shared else "session mode, it seems"
    return Finding(name="pooler", level=Level.OK, found=f"one in {mode}")


def _is_shared(engine: Engine, serving: int) -> bool:
    """Return whether a second client gets the first one's process while that does nothing."""
    with engine.connect() as second, second.begin():
        return bool(_backend(second).pid == serving)


def _backend(connection: Connection) -> Any:
    return run(connection, diagnosing.backend_process(), {})[0]


def _settings(connection: Connection) -> dict[str, str]:
    rows = run(connection, diagnosing.settings(), {})
    return {row.name: row.setting for row in rows}
