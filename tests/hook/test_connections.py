"""From an Airflow connection to a database."""

from __future__ import annotations

import traceback
from typing import Any

import pytest

from xclaim import DatabaseUrlError
from xclaim.airflow.connections import database_of

pytestmark = pytest.mark.airflow


def connection(**values: Any) -> Any:
    from airflow.sdk import Connection

    return Connection(conn_id="my_queue", **values)


@pytest.mark.parametrize(
    ("values", "url"),
    [
        (
            {"conn_type": "xclaim", "host": "h", "login": "u", "password": "p@:/", "schema": "d"},
            "postgresql+psycopg://u:p%40%3A%2F@h/d",
        ),
        (
            {"conn_type": "xclaim", "host": "h", "port": 6543, "extra": '{"sslmode": "require"}'},
            "postgresql+psycopg://h:6543?sslmode=require",
        ),
        (
            {"conn_type": "xclaim", "host": "h", "extra": '{"prepare_threshold": "none"}'},
            "postgresql+psycopg://h?prepare_threshold=none",
        ),
        ({"conn_type": "xclaim", "schema": "/data/x.db"}, "sqlite:////data/x.db"),
        (
            {"conn_type": "postgres", "host": "h", "extra": '{"cursor": "dictcursor"}'},
            "postgresql+psycopg://h",
        ),
        ({"conn_type": "postgres", "schema": "d"}, "postgresql+psycopg:///d"),
        ({"conn_type": "sqlite", "host": "/data/x.db"}, "sqlite:////data/x.db"),
    ],
)
def test_the_fields_of_a_connection_make_a_url(values: dict[str, Any], url: str) -> None:
    database = database_of(connection(**values))

    assert database.url.render_as_string(hide_password=False) == url
    assert database.schema is None


@pytest.mark.parametrize(
    ("uri", "url"),
    [
        ("postgresql://u:p@h:5/d", "postgresql+psycopg://u:p@h:5/d"),
        ("postgres://u@h/d?sslmode=require", "postgresql+psycopg://u@h/d?sslmode=require"),
        ("postgresql+psycopg://u@h/d", "postgresql+psycopg://u@h/d"),
        ("sqlite:////data/x.db", "sqlite:////data/x.db"),
        ("xclaim://u@h/d", "postgresql+psycopg://u@h/d"),
    ],
)
def test_a_uri_makes_the_same_url(uri: str, url: str) -> None:
    from airflow.sdk import Connection

    database = database_of(Connection.from_uri(uri, conn_id="my_queue"))

    assert database.url.render_as_string(hide_password=False) == url


@pytest.mark.parametrize("host", ["hunter2@h", "@hunter2", "p@hunter2@h"])
@pytest.mark.parametrize("conn_type", ["xclaim", "postgres"])
def test_a_host_that_has_a_part_of_the_password_is_refused_unshown(
    conn_type: str, host: str
) -> None:
    with pytest.raises(DatabaseUrlError, match="write %40 for an @") as caught:
        database_of(connection(conn_type=conn_type, host=host, password="p"))

    assert "hunter2" not in "".join(traceback.format_exception(caught.value))


def test_the_schema_of_the_table_is_an_extra() -> None:
    values = {"conn_type": "xclaim", "host": "h", "extra": '{"xclaim_schema": "work"}'}

    assert database_of(connection(**values)).schema == "work"


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"conn_type": "mysql", "host": "h", "password": "secret"}, "'mysql'"),
        ({"conn_type": "xclaim", "password": "secret"}, "host for PostgreSQL, or the file's path"),
        ({"conn_type": "sqlite", "password": "secret"}, "the file's path as host"),
        (
            {"conn_type": "xclaim", "host": "h", "password": "secret", "extra": '["secret"]'},
            "no JSON object",
        ),
        ({"conn_type": "xclaim", "host": "h", "extra": '{"secret'}, "no JSON object"),
        ({"conn_type": "sqlite", "host": "/x.db", "extra": "secret"}, "no JSON object"),
        (
            {"conn_type": "xclaim", "schema": "/x.db", "extra": '{"xclaim_schema": "work"}'},
            "SQLite has none",
        ),
    ],
)
def test_a_connection_that_leads_nowhere_is_refused_by_its_id(
    values: dict[str, Any], named: str
) -> None:
    with pytest.raises(DatabaseUrlError, match=named) as caught:
        database_of(connection(**values))

    assert "my_queue" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_type_that_airflow_did_not_know_has_a_way_out() -> None:
    with pytest.raises(DatabaseUrlError, match="--conn-type xclaim`, or with `--conn-uri"):
        database_of(connection(conn_type="generic", host="db"))
