"""A push under keys ends, whatever the database does with its rows."""

from __future__ import annotations

from typing import Any

import pytest
from cryptography.fernet import Fernet
from sqlalchemy.exc import IntegrityError

from xclaim import DuplicateMessageError, Payloads, Queue, XclaimError, create_engine
from xclaim.verbs import pushing_once

KEYS = ["one", "two"]
_LEAVE_OUT = """
CREATE FUNCTION leave_out() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
CREATE TRIGGER leave_out BEFORE INSERT ON xclaim_message FOR EACH ROW EXECUTE FUNCTION leave_out();
"""
_REFUSE = """
CREATE TRIGGER refuse BEFORE INSERT ON xclaim_message BEGIN SELECT RAISE(ABORT, 'not today'); END
"""


def run(url: str, sql: str) -> None:
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.exec_driver_sql(sql)
    engine.dispose()


@pytest.mark.parametrize("keys", [["one"], KEYS])
def test_a_sequence_that_is_behind_is_told_as_what_it_is(
    fresh_postgresql_url: str, keys: list[str]
) -> None:
    with Queue("orders", fresh_postgresql_url) as queue:
        queue.push("before")
        run(fresh_postgresql_url, "ALTER TABLE xclaim_message ALTER id RESTART WITH 1")

        with pytest.raises(IntegrityError, match="xclaim_message_pkey"):
            queue.push_many(keys, unique_keys=keys)

        assert queue.counts().available == 1


@pytest.mark.parametrize("keys", [["one"], KEYS])
def test_a_trigger_that_leaves_rows_out_is_told(fresh_postgresql_url: str, keys: list[str]) -> None:
    run(fresh_postgresql_url, _LEAVE_OUT)

    with (
        Queue("orders", fresh_postgresql_url) as queue,
        pytest.raises(XclaimError, match=r"neither inserts nor finds .*'one'.*trigger"),
    ):
        queue.push_many(keys, unique_keys=keys)


def test_a_trigger_that_refuses_is_no_duplicate(sqlite_url: str) -> None:
    run(sqlite_url, _REFUSE)

    with Queue("orders", sqlite_url) as queue, pytest.raises(IntegrityError, match="not today"):
        queue.push(1, unique_key="one")


def test_two_keys_that_clash_one_after_the_other_are_compared_each(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    encrypted = Payloads(keys=Fernet.generate_key().decode())
    looks: list[Any] = []
    look = pushing_once._attempt

    with Queue("orders", database_url, payloads=encrypted) as queue:

        def look_again(*arguments: Any, **options: Any) -> Any:
            looks.append(arguments)
            if len(looks) == 2:
                monkeypatch.setattr(pushing_once, "_attempt", look)
                queue.push("second", unique_key="two")
            return look(*arguments, **options)

        queue.push("first", unique_key="one")
        monkeypatch.setattr(pushing_once, "_attempt", look_again)
        pushed = queue.push_many(["first", "second"], unique_keys=KEYS)

        assert [message.unique_key for message in pushed] == KEYS
        assert queue.counts().available == 2
        with pytest.raises(DuplicateMessageError):
            queue.push_many(["first", "third"], unique_keys=KEYS)
