"""Who takes the table away does not leave the roles and functions of capabilities behind."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

import pytest
from click.testing import CliRunner
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from tests.capable import Shop, shop
from xclaim.cli.app import group
from xclaim.operations import migrate

_FORGED = 'xclaim capability {"queue": "orders", "verbs": ["claim"], "schema": "public"'
_ROLES = text("SELECT count(*) FROM pg_roles WHERE rolname LIKE 'packing%' AND NOT rolcanlogin")


@pytest.fixture
def place(postgresql_server: str) -> Iterator[Shop]:
    with shop(postgresql_server) as there:
        yield there


def test_a_table_with_capabilities_is_not_dropped(place: Shop) -> None:
    place.make("packing", verbs=["push", "claim"])
    place.make("billing", queue="invoices")
    place.queue().push(1)

    with pytest.raises(DBAPIError, match="billing, packing; drop each first") as raised:
        migrate.downgrade(place.owner, "base")

    assert getattr(raised.value.orig, "sqlstate", None) == "2BP01"
    assert place.queue().counts().available == 1
    place.drop("packing")
    place.drop("billing")
    migrate.downgrade(place.owner, "base")
    with place.owner.connect() as connection:
        assert connection.scalar(_ROLES) == 0
    assert migrate.current(place.owner) is None


@pytest.mark.parametrize("schema", ["public", "it's mine"])
def test_the_commands_that_drop_them_can_be_pasted(
    place: Shop, schema: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    migrate.upgrade(place.owner, schema=schema)
    for name in ("packing", "the 'billing'"):
        place.make(name, schema=schema)
    url = place.owner.url.render_as_string(hide_password=False)
    monkeypatch.setenv("XCLAIM_DATABASE_URL", url)

    with pytest.raises(DBAPIError) as raised:
        migrate.downgrade(place.owner, "base", schema=schema)
    said = str(raised.value.orig).splitlines()[0].partition("; drop each first: ")[2]
    for command in said.split("; "):
        program, *words = shlex.split(command)
        done = CliRunner().invoke(group, words)
        assert (program, done.exit_code) == ("xclaim", 0), done.output

    migrate.downgrade(place.owner, "base", schema=schema)
    assert migrate.current(place.owner, schema=schema) is None


def test_a_comment_that_is_none_of_ours_keeps_nobody_from_it(place: Shop) -> None:
    with place.owner.begin() as connection:
        connection.exec_driver_sql("CREATE SCHEMA other")
        connection.exec_driver_sql(f"COMMENT ON SCHEMA other IS '{_FORGED}'")

    migrate.downgrade(place.owner, "base")

    assert migrate.current(place.owner) is None
