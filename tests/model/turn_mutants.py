"""Triggers and functions that pass the turn wrongly: the explorer and the machine have to notice.

Each is the real body with a few words changed, put into the database in place of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from unittest.mock import patch

from sqlalchemy import Engine, text

from xclaim.operations.migrate import placed
from xclaim.operations.ordering import _run
from xclaim.sql import ordering, turns
from xclaim.sql.dialects import dialect_of
from xclaim.sql.schema import TURN_NAME


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnMutant:
    """The body that is changed, by its name in ``xclaim.sql.turns``, and the words in it.

    ``index``: one to drop besides.
    """

    body: str
    words: str
    instead: str
    index: str | None = None

    @contextmanager
    def planted(self, engine: Engine) -> Iterator[None]:
        """Enable ordering keys with it, in a database that is thrown away."""
        real = getattr(turns, self.body)
        assert self.words in real, f"{self.body} has other words by now"
        dialect = dialect_of(engine.dialect.name)
        with (
            patch.object(turns, self.body, real.replace(self.words, self.instead)),
            engine.begin() as connection,
        ):
            with placed(connection, None) as place:
                _run(connection, ordering.disabling(dialect, place))
                _run(connection, ordering.enabling(dialect, place))
            if self.index is not None:
                connection.execute(text(f"DROP INDEX {self.index}"))
        yield


TURN_MUTANTS = {
    "the turn goes to the last in line": TurnMutant(
        body="GIVE_TURN_BODY",
        words="ORDER BY queue, ordering_key, id LIMIT 1",
        instead="ORDER BY queue, ordering_key, id DESC LIMIT 1",
    ),
    "the turn is not passed on": TurnMutant(
        body="PASS_TURN_BODY",
        words="is_passed := {give_turn}(OLD.origin_queue, OLD.ordering_key, unfree, is_deleted);",
        instead="is_passed := true;",
    ),
    "the turn is passed on twice": TurnMutant(
        body="PASS_TURN_BODY",
        words="IF is_passed OR NOT is_passed",
        instead="PERFORM {give_turn}(OLD.origin_queue, OLD.ordering_key, unfree, is_deleted);"
        " IF is_passed OR NOT is_passed",
        index=TURN_NAME,
    ),
    "who is awaited is forgotten": TurnMutant(
        body="GIVE_TURN_BODY",
        words="awaited_ids = nullif(awaited, '{{}}')",
        instead="awaited_ids = NULL",
    ),
    "who is awaited is not looked at": TurnMutant(
        body="PASS_TURN_BODY",
        words="unfree := {unfree}(OLD.awaited_ids || OLD.id);",
        instead="unfree := {unfree}(ARRAY[OLD.id]);",
    ),
    "a push does not look at the holder": TurnMutant(
        body="LINE_UP_BODY", words="FOR KEY SHARE", instead=""
    ),
    "a push looks at the holder only once": TurnMutant(
        body="LINE_UP_BODY",
        words="WHERE held.id = ANY (locked) AND {held_has_turn};",
        instead="WHERE held.id = ANY (locked);",
    ),
    "an ack waits for producers": TurnMutant(
        body="UNFREE_BODY", words="FOR UPDATE SKIP LOCKED", instead="FOR UPDATE"
    ),
    "a turn that is owed is never passed on": TurnMutant(
        body="PASS_ON_BODY", words="IF NOT FOUND THEN", instead="IF true THEN"
    ),
    "the turn leaves its batch": TurnMutant(
        body="GIVE_TURN_BODY",
        words="IF FOUND THEN\n            SELECT id INTO next_id",
        instead="IF false THEN\n            SELECT id INTO next_id",
    ),
    "what is given back of a batch can be claimed": TurnMutant(
        body="GIVE_BACK_BODY",
        words="IF NOT holder.owes THEN",
        instead="RETURN false; IF true THEN",
    ),
    "what is put off stays so": TurnMutant(
        body="GIVE_BACK_BODY", words="available_at - {put_off}", instead="available_at"
    ),
    "two lead a new line": TurnMutant(
        body="LINE_UP_BODY",
        words="PERFORM {give_turn}(of_queue, of_key, NULL, true);",
        instead="PERFORM {give_turn}(of_queue, of_key, NULL, true);" * 2,
        index=TURN_NAME,
    ),
}
# On SQLite, where the state machine looks for them. Not without the index, which a push makes anew.
SQLITE_TURN_MUTANTS = {
    "the turn goes to the last in line": TurnMutant(
        body="SQLITE_GIVE_TURN",
        words="ORDER BY queue, ordering_key, id LIMIT 1",
        instead="ORDER BY queue, ordering_key, id DESC LIMIT 1",
    ),
    "the turn is not passed on": TurnMutant(
        body="CAN_CHANGE",
        words="OLD.ordering_key IS NOT NULL",
        instead="false AND OLD.ordering_key IS NOT NULL",
    ),
}
