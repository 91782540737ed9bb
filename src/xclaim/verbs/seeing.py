"""Whether the role sees all messages: who concludes something from what is not there has to ask.

Ask after looking: then what was seen is answered for, also if row-level security was switched on
meanwhile.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection
from sqlalchemy.exc import DataError, ProgrammingError

from xclaim.connections.direct import run
from xclaim.errors import HiddenRowsError
from xclaim.sql.dialects import SQLITE
from xclaim.sql.revision import qualified
from xclaim.sql.schema import TABLE_NAME
from xclaim.sql.statements import seeing

__all__ = ["hides_rows", "of_what_is_seen", "refuse_hidden_queue", "refuse_hidden_rows"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sight:
    role: str
    is_limited: bool
    one_of: Sequence[str]
    all_of: Sequence[str]

    @property
    def hides_rows(self) -> bool:
        return self.is_limited and ("true" not in self.one_of or bool(self.all_of))


def hides_rows(connection: Connection, schema: str | None) -> bool:
    """Return whether row-level security hides messages from the role of the connection."""
    sight = _sight(connection, schema)
    return sight is not None and sight.hides_rows


def of_what_is_seen(connection: Connection, schema: str | None) -> str:
    """Return what is to be added to "there is no message", if row-level security hides some."""
    return " that this role sees" if hides_rows(connection, schema) else ""


def refuse_hidden_rows(connection: Connection, schema: str | None, work: str) -> None:
    """Raise HiddenRowsError for work on all messages if the role does not see all of them."""
    sight = _sight(connection, schema)
    if sight is not None and sight.hides_rows:
        raise HiddenRowsError(
            f"row-level security hides messages from role {sight.role!r}, and {work} has to see "
            "all of them: run it as the owner of the table, or as a role with BYPASSRLS"
        )


def refuse_hidden_queue(connection: Connection, queue: str, *, schema: str | None = None) -> None:
    """Raise HiddenRowsError if the role does not see what is in a queue.

    Call it under autocommit: a policy that looks at more than the queue is taken for one that hides
    it, and found by an error.
    """
    sight = _sight(connection, schema)
    if sight is None or not sight.hides_rows or _is_seen(connection, sight, queue):
        return
    raise HiddenRowsError(
        f"row-level security hides queue {queue!r} from role {sight.role!r}, and nothing can be "
        "said of it: grant the role the queue with `xclaim grants`, or ask as the table's owner"
    )


def _sight(connection: Connection, schema: str | None) -> _Sight | None:
    if connection.dialect.name == SQLITE.name:
        return None
    (row,) = run(connection, seeing.sight(), {"message_table": qualified(TABLE_NAME, schema)})
    return _Sight(role=row.role, is_limited=row.is_limited, one_of=row.one_of, all_of=row.all_of)


def _is_seen(connection: Connection, sight: _Sight, queue: str) -> bool:
    statement = seeing.is_seen(sight.one_of, sight.all_of)
    try:
        return bool(connection.execute(statement, {"queue_name": queue}).scalar_one())
    except (ProgrammingError, DataError):  # it looks at a column that there is only in the table
        return False
