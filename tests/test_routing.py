"""Every statement that changes rows can be sent as it is to the node that has the schema."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import fields
from itertools import product
from typing import Any

import psycopg
import pytest
from sqlalchemy import make_url

from tests.routing import Catalog, hindrances, sent, trees
from xclaim.sql import statements
from xclaim.sql.dialects import POSTGRESQL
from xclaim.sql.schema import message_table

Letters, Start = statements.Letters, statements.Start
LETTERS = [Letters(), Letters(**{field.name: True for field in fields(Letters)})]
CHOICES: dict[str, list[Any]] = {
    "bool": [False, True],
    "int": [1, 100],
    "Start": list(Start),
    "Letters": LETTERS,
}
NO_BUILDERS = {"ClaimedRow", "Letters", "Start", "Statement"}
OF_A_STATEMENT = {"ids_of", "in_bytes"}  # they take a SELECT, and return one


def variants() -> Iterator[tuple[str, Any]]:
    """Yield every statement of the verbs, with each of its options, by a name."""
    for name in sorted(set(statements.__all__) - NO_BUILDERS - OF_A_STATEMENT):
        build = getattr(statements, name)
        options = {
            option.name: CHOICES[str(option.annotation).strip("'")]
            for option in inspect.signature(build).parameters.values()
            if option.kind is option.KEYWORD_ONLY
        }
        for values in product(*options.values()):
            chosen = dict(zip(options, values, strict=True))
            shown = ", ".join(f"{option}={value}" for option, value in chosen.items())
            yield f"{name}({shown})", build(message_table(), POSTGRESQL, **chosen)


def is_change(statement: Any) -> bool:
    text, _ = sent(statement)
    return "UPDATE xclaim" in text or "DELETE FROM xclaim" in text


CHANGES = {name: statement for name, statement in variants() if is_change(statement)}


@pytest.fixture(scope="module")
def connection(postgresql_url: str) -> Iterator[psycopg.Connection]:
    url = make_url(postgresql_url).set(drivername="postgresql")
    with psycopg.connect(url.render_as_string(hide_password=False), autocommit=True) as connection:
        connection.execute("CREATE SCHEMA elsewhere")
        connection.execute("CREATE TABLE elsewhere.message (id bigint)")
        yield connection
        connection.execute("DROP SCHEMA elsewhere CASCADE")


@pytest.fixture(scope="module")
def catalog(connection: psycopg.Connection) -> Catalog:
    return Catalog.read(connection)


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_is_one_task_on_one_node(
    connection: psycopg.Connection, catalog: Catalog, name: str
) -> None:
    found = hindrances(catalog, trees(connection, *sent(CHANGES[name])))

    assert found == set()


REFUSED = {
    "UPDATE xclaim_message SET claim_token = gen_random_uuid()": "gen_random_uuid is VOLATILE",
    "WITH free AS (SELECT id, random() AS r FROM xclaim_message)"
    " DELETE FROM xclaim_message USING free WHERE free.id = xclaim_message.id": (
        "random is VOLATILE"
    ),
    "UPDATE xclaim_message SET attempts = 1"
    " FROM unnest(CAST((SELECT '{1}') AS bigint[])) AS item(id)"
    " WHERE xclaim_message.id = item.id": "COERCEVIAIO of a sub-SELECT that reads no row",
    "DELETE FROM xclaim_message WHERE id = (SELECT 1) + 1": (
        "OPEXPR of a sub-SELECT that reads no row"
    ),
    "UPDATE xclaim_message SET available_at = CASE WHEN id > 1 THEN now() ELSE created_at END": (
        "now in CASE or COALESCE is not IMMUTABLE"
    ),
    "UPDATE xclaim_message SET available_at = coalesce(available_at, now())": (
        "now in CASE or COALESCE is not IMMUTABLE"
    ),
    "UPDATE xclaim_message SET available_at = created_at + interval '1 second'": (
        "timestamptz_pl_interval of a column is not IMMUTABLE"
    ),
    "DELETE FROM xclaim_message WHERE pg_column_size(payload) > 9": (
        "pg_column_size of a column is not IMMUTABLE"
    ),
    "UPDATE xclaim_message SET attempts = 1 RETURNING now() - created_at": (
        "now in RETURNING is not IMMUTABLE"
    ),
    "UPDATE xclaim_message SET attempts = 1 RETURNING CAST(created_at AS text)": (
        "timestamptz_out in RETURNING is not IMMUTABLE"
    ),
    "UPDATE xclaim_message SET attempts = 1 FROM elsewhere.message AS other"
    " WHERE other.id = xclaim_message.id": "tables of 2 schemas",
}


@pytest.mark.parametrize("statement", REFUSED)
def test_what_citus_refuses_is_seen(
    connection: psycopg.Connection, catalog: Catalog, statement: str
) -> None:
    assert REFUSED[statement] in hindrances(catalog, trees(connection, statement))


CLOCK = "UPDATE xclaim_message SET available_at = now() + interval '1 second' WHERE id = 1"
LOCKED = "SELECT id FROM xclaim_message WHERE created_at + interval '1 hour' < now() FOR UPDATE"
CHOSEN = "SELECT CASE WHEN xclaim_message.id > 1 THEN now() ELSE xclaim_message.created_at END"
TAKEN = [
    f"{CLOCK} RETURNING id, least(created_at, '2026-01-01 00:00:00+00')",
    f"WITH held AS ({LOCKED}) DELETE FROM xclaim_message WHERE id = ANY (ARRAY(TABLE held))",
    f"UPDATE xclaim_message SET available_at = ({CHOSEN})",
]


@pytest.mark.parametrize("statement", TAKEN)
def test_what_citus_takes_is_let_through(
    connection: psycopg.Connection, catalog: Catalog, statement: str
) -> None:
    assert hindrances(catalog, trees(connection, statement)) == set()
