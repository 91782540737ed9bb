"""`xclaim grants`, and that what stands in an argument stays data."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from secrets import token_hex

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import make_url

from tests.cli.command_line import CommandLine
from xclaim import Queue

HOSTILE = "'; DROP TABLE xclaim_message; -- \" $$ %s :x \\ ü"


@pytest.fixture
def role(postgresql_server: str) -> Iterator[str]:
    """A name for a role that is dropped when its database is."""
    name = f"xclaim_test_{token_hex(4)}'\"%s:x\\"
    yield name
    with closing(connect(postgresql_server)) as administrator:
        administrator.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(sql.Identifier(name)))


@pytest.fixture
def server(nowhere: CommandLine, role: str, fresh_postgresql_url: str) -> CommandLine:
    """The command line as the owner of a PostgreSQL database, which is dropped before the role."""
    assert role
    return nowhere.at(fresh_postgresql_url)


def connect(url: str) -> psycopg.Connection:
    address = make_url(url).set(drivername="postgresql")
    return psycopg.connect(address.render_as_string(hide_password=False), autocommit=True)


def roles(url: str, name: str) -> int:
    with closing(connect(url)) as connection:
        rows = connection.execute("SELECT FROM pg_roles WHERE rolname = %s", [name])
        return len(rows.fetchall())


def test_grants_prints_sql_and_changes_nothing(
    server: CommandLine, role: str, fresh_postgresql_url: str
) -> None:
    shown = server("grants", "consumer", role, "--queue", "orders")

    assert shown.status == 0
    assert shown.stdout.startswith("-- The role")
    assert shown.stdout.endswith("COMMIT;\n")
    assert "ENABLE ROW LEVEL SECURITY" in shown.stdout
    assert roles(fresh_postgresql_url, role) == 0


def test_the_sql_that_is_printed_can_be_run(
    server: CommandLine, role: str, fresh_postgresql_url: str
) -> None:
    shown = server("grants", "producer", role, "--queue", HOSTILE)

    with closing(connect(fresh_postgresql_url)) as connection:
        connection.execute(shown.stdout.encode())
        connection.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(role)))
        insert = (
            "INSERT INTO xclaim_message (queue, origin_queue, payload, created_at, available_at)"
            " VALUES (%(queue)s, %(queue)s, '1', now(), now())"
        )
        connection.execute(insert, {"queue": HOSTILE})
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(insert, {"queue": "other"})


def test_grants_applied_say_what_was_done(
    server: CommandLine, role: str, fresh_postgresql_url: str
) -> None:
    first = server("grants", "observer", role, "--queue", "a", "--queue", "b", "--apply")
    again = server("grants", "maintainer", role, "--payloads", "--apply")

    done = {"role": role, "kind": "observer", "queues": ["a", "b"], "payloads": False}
    assert first.values == [done | {"created": True, "without_policy": [], "wider": []}]
    assert again.values == [
        done
        | {"kind": "maintainer", "queues": None, "payloads": True}
        | {"created": False, "without_policy": [], "wider": []}
    ]
    assert roles(fresh_postgresql_url, role) == 1


def test_who_may_only_look_sees_the_stats_and_grants_nothing(
    server: CommandLine, role: str, fresh_postgresql_url: str
) -> None:
    server("grants", "observer", role, "--queue", "orders", "--apply")
    with closing(connect(fresh_postgresql_url)) as connection:
        alter = "ALTER ROLE {} LOGIN PASSWORD 'hunter2'"
        connection.execute(sql.SQL(alter).format(sql.Identifier(role)))
    with Queue("orders", fresh_postgresql_url) as orders:
        orders.push("a payload")
    own = make_url(fresh_postgresql_url).set(username=role, password="hunter2")
    observer = server.at(own.render_as_string(hide_password=False))

    stats = observer("stats")
    refusals = [
        observer("push", "orders", '"a payload"'),
        observer("peek", "orders"),
        observer("grants", "consumer", role, "--apply"),
    ]

    assert [(line["queue"], line["available"]) for line in stats.values] == [("orders", 1)]
    for refusal in refusals:
        assert (refusal.status, refusal.stdout, len(refusal.errors)) == (4, "", 1)
        assert "the database refused" in refusal.stderr
        assert "a payload" not in refusal.stderr
        assert "hunter2" not in refusal.stderr


@pytest.mark.parametrize("kind", ["producer", "consumer", "observer", "maintainer"])
def test_grants_can_be_applied_again_for_other_queues_and_as_another_kind(
    server: CommandLine, role: str, fresh_postgresql_url: str, kind: str
) -> None:
    statuses = [
        server("grants", again, role, "--queue", queue, "--apply").status
        for again, queue in ((kind, "orders"), (kind, "parcels"), ("observer", "parcels"))
    ]

    assert statuses == [0, 0, 0]
    with closing(connect(fresh_postgresql_url)) as connection:
        left = connection.execute(
            "SELECT FROM pg_policies WHERE %s = ANY (roles) AND cmd <> 'SELECT'", [role]
        ).fetchall()
        may = connection.execute(
            "SELECT has_any_column_privilege(%s, 'xclaim_slot', 'UPDATE')", [role]
        ).fetchall()
    assert (left, may) == ([], [(False,)])


def test_a_capability_is_printed_applied_called_and_dropped(
    server: CommandLine, role: str, fresh_postgresql_url: str
) -> None:
    given = ("grants", "capability", "packing", "--queue", HOSTILE, "--verbs", "claim, push")

    printed = server(*given, "--to", role)
    before = roles(fresh_postgresql_url, role)
    applied = server(*given, "--to", role, "--apply")
    with closing(connect(fresh_postgresql_url)) as connection:
        connection.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(role)))
        connection.execute("SELECT packing.push('1')")
        claimed = connection.execute("SELECT payload FROM packing.claim()").fetchall()
    dropping = server("grants", "capability", "packing", "--drop")
    dropped = server("grants", "capability", "packing", "--drop", "--apply")

    assert printed.stdout.startswith("-- The capability packing: push, claim in queue '; DROP")
    assert before == 0
    (done,) = applied.values
    assert (done["queue"], done["verbs"], done["to"]) == (HOSTILE, ["push", "claim"], [role])
    assert claimed == [(1,)]
    assert 'DROP SCHEMA "packing"' in dropping.stdout
    assert dropped.values == [{"capability": "packing", "dropped": True}]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("capability", "a", "--queue", "q", "--verbs", "claim"), "SQLite has no roles"),
        (("capability", "a", "--drop"), "SQLite has no roles"),
        (("capability", "a", "--verbs", "claim"), "a capability is for one --queue"),
        (("capability", "a", "--queue", "q"), "a capability needs verbs: choose of push"),
        (("capability", "a", "--queue", "q", "--verbs", "steal"), "verb 'steal' is unknown"),
        (("capability", "a", "--payloads"), "--payloads is for an observer or maintainer"),
        (("consumer", "a", "--verbs", "claim"), "--verbs, --to and --drop are for a capability"),
        (("capability", "a", "--drop", "--verbs", "ack"), "--drop takes away the whole capability"),
        (("capability", "a", "--drop", "--to", "b"), "--drop takes away the whole capability"),
        (("capability", "a", "--drop", "--queue", "q"), "--drop takes away the whole capability"),
        (("producer", "worker"), "SQLite has no roles"),
        (("boss", "worker"), "kind 'boss' is unknown: use producer"),
        (("producer", ""), "role name is empty"),
        (("producer", "public"), "'public' is PostgreSQL's own"),
        (("producer", "x" * 64), "64 bytes long"),
        (("consumer", "worker", "--payloads"), "a consumer has them"),
        (("consumer", "worker", "--queue", ""), "queue name is empty"),
    ],
)
def test_a_grant_that_cannot_be_is_wrong_use(
    refused: Callable[..., str], arguments: tuple[str, ...], named: str
) -> None:
    assert named in refused("grants", *arguments)


def test_what_stands_in_an_argument_stays_data(sqlite_xclaim: CommandLine, sqlite_url: str) -> None:
    payload = '"\'; DROP TABLE xclaim_message; -- %s :x"'

    pushed = sqlite_xclaim(
        "push", HOSTILE, payload, "--unique-key", HOSTILE, "--header", f"{HOSTILE}={HOSTILE}"
    )
    claimed = sqlite_xclaim("claim", HOSTILE, "--claimed-by", HOSTILE, "--claim-key", HOSTILE)
    released = sqlite_xclaim("release", "--error", HOSTILE, stdin=claimed.stdout)

    with Queue(HOSTILE, sqlite_url) as queue:
        (message,) = queue.failing()
    assert (pushed.status, claimed.status, released.status) == (0, 0, 0)
    assert (message.queue, message.unique_key, message.last_error) == (HOSTILE,) * 3
    assert message.headers == {HOSTILE: HOSTILE}
    assert claimed.values[0]["message"]["claimed_by"] == HOSTILE
