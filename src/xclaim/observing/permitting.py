"""What the role may see and do: asked of the database, and not of the page that shows it."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from xclaim.arguments import DEAD_LETTER_SUFFIX
from xclaim.observing.asking import Question
from xclaim.observing.names import queue_of
from xclaim.observing.values import Action, Rights
from xclaim.sql.revision import commands_of, mismatch, qualified
from xclaim.sql.schema import DELETE_NAME, QUEUE_TABLE_NAME, TABLE_NAME, message_table
from xclaim.sql.statements import observing_rights
from xclaim.verbs import hides_rows

_ALL = tuple(column.name for column in message_table().c)
_PUSHED = ("queue", "origin_queue", "priority", "payload", "headers", "unique_key")
_FREED = ("status", "claimed_at", "claim_expires_at", "claimed_by", "claim_key", "claim_token")
_SETTINGS = ("queue", "paused_at", "paused_by", "reason")
# What a granted role is for that may do it.
_KINDS = {
    Action.PUSH: "producer",
    Action.REDRIVE: "maintainer",
    Action.RELEASE: "consumer",
    Action.WITHDRAW: "maintainer",
    Action.EXPIRE: "maintainer",
    Action.PAUSE: "maintainer",
}


@dataclass(frozen=True, slots=True)
class _Needs:
    """Which columns somebody must be allowed to read and change for an action."""

    select: tuple[str, ...] = ()
    insert: tuple[str, ...] = ()
    update: tuple[str, ...] = ()
    deletes: bool = False


_AGAIN = ("available_at", "due_at")
_NEEDS = {
    Action.PUSH: _Needs(select=("id",), insert=_PUSHED),
    Action.REDRIVE: _Needs(update=("queue", "attempts", "available_at", *_FREED)),
    # Who gives back what another holds reads his token.
    Action.RELEASE: _Needs(select=_ALL, update=(*_AGAIN, *_FREED)),
    Action.EXPIRE: _Needs(select=("failures",), update=("queue", "failures", *_AGAIN, *_FREED)),
    Action.WITHDRAW: _Needs(deletes=True),
}


@dataclass(frozen=True, slots=True)
class _RowNeeded:
    """A row that the policies for a command have to find, or to let be left."""

    command: Literal["a", "w", "d"]
    side: Literal["finds", "leaves"]
    row: str


_GIVEN_BACK = _RowNeeded("w", "leaves", observing_rights.AVAILABLE)
_ROWS = {
    Action.PUSH: (_RowNeeded("a", "leaves", observing_rights.AVAILABLE),),
    Action.REDRIVE: (_RowNeeded("w", "finds", observing_rights.DEAD), _GIVEN_BACK),
    Action.RELEASE: (_RowNeeded("w", "finds", observing_rights.HELD), _GIVEN_BACK),
    Action.EXPIRE: (_RowNeeded("w", "finds", observing_rights.LAPSED), _GIVEN_BACK),
    Action.WITHDRAW: (_RowNeeded("d", "finds", observing_rights.AVAILABLE),),
    Action.PAUSE: (
        _RowNeeded("a", "leaves", observing_rights.SETTING),
        _RowNeeded("w", "finds", observing_rights.SETTING),
    ),
}


def rights(question: Question, queue: str | None) -> Rights:
    """Return what the role may see and do, to messages of the queue if one is named."""
    name = None if queue is None else queue_of(queue)
    if question.is_sqlite:
        return _of_file(question)
    return _of_role(question, name)


def _of_file(question: Question) -> Rights:
    is_writable = question.can_be_written()
    reason = (
        "the file of the database cannot be written by this process: give its user the right to "
        "write the file and its folder"
    )
    return Rights(
        role=None,
        sees_payloads=True,
        sees_errors=True,
        hides_rows=False,
        refusals={} if is_writable else dict.fromkeys(Action, reason),
    )


def _of_role(question: Question, queue: str | None) -> Rights:
    message = qualified(TABLE_NAME, question.schema)
    function = f"{qualified(DELETE_NAME, question.schema)}(bigint[], text)"
    (role,) = question.run(
        observing_rights.role(), {"message_table": message, "delete_function": function}
    )
    if not role.is_there:
        raise mismatch(None, question.schema, question.connection)
    columns = _columns(question, TABLE_NAME)
    refused = dict(_refused(question, role, columns))
    hides = hides_rows(question.connection, question.schema)
    if queue is not None:
        refused |= _by_policies(question, role.role, queue, set(Action) - set(refused))
    return Rights(
        role=role.role,
        sees_payloads="payload" in columns["select"],
        sees_errors="last_error" in columns["select"],
        hides_rows=hides,
        refusals={action: refused[action] for action in Action if action in refused},
    )


def _refused(
    question: Question, role: Any, columns: dict[str, set[str]]
) -> Iterator[tuple[Action, str]]:
    settings = _columns(question, QUEUE_TABLE_NAME)
    for action in Action:
        if role.is_standby:
            yield action, "the server is a standby, which changes nothing: connect to the primary"
        elif role.is_read_only:
            yield (
                action,
                (
                    "the role or the database is set to default_transaction_read_only: change that "
                    "with ALTER ROLE or ALTER DATABASE"
                ),
            )
        elif not _is_allowed(action, role, columns, settings):
            yield action, _refusal(question, role.role, action)


def _is_allowed(
    action: Action, role: Any, columns: dict[str, set[str]], settings: dict[str, set[str]]
) -> bool:
    if action is Action.PAUSE:
        is_set = settings["insert"] >= {*_SETTINGS} and settings["update"] >= {*_SETTINGS[1:]}
        return is_set and "queue" in settings["select"]
    needs = _NEEDS[action]
    if needs.deletes:
        return bool(role.may_delete or role.may_call_delete) and "id" in columns["select"]
    wanted = {"select": needs.select, "insert": needs.insert, "update": needs.update}
    return all(columns[right] >= {*names} for right, names in wanted.items())


def _columns(question: Question, name: str) -> dict[str, set[str]]:
    """Return the names of the columns of a table that the role may read, insert and update."""
    named = {"named_table": qualified(name, question.schema)}
    rows = question.run(observing_rights.columns(), named)
    return {
        right: {row.name for row in rows if getattr(row, f"may_{right}")}
        for right in ("select", "insert", "update")
    }


def _refusal(question: Question, role: str, action: Action, queue: str | None = None) -> str:
    kind = _KINDS[action]
    option = "" if queue is None else f" --queue {shlex.quote(queue)}"
    words = f"grants {kind} {shlex.quote(role)}{option}"
    of = "" if queue is None else f" in {queue!r}"
    return (
        f"role {role!r} may not {action}{of}: as the owner of the table run "
        f"{commands_of(question.connection).command(words, question.schema)}"
    )


@dataclass(frozen=True, slots=True)
class _Policies:
    """What row-level security lets the role do with a table, which limits it there."""

    table: str
    rows: Sequence[Any]

    def meet(self, question: Question, queue: str, needed: _RowNeeded) -> bool:
        """Return whether a row that could be in the queue is found, or may be left."""
        holding = [policy for policy in self.rows if policy.command in (needed.command, "*")]
        one_of = [getattr(policy, needed.side) for policy in holding if policy.permits]
        all_of = [getattr(policy, needed.side) for policy in holding if not policy.permits]
        if "true" in one_of and not all_of:
            return True
        names = {"queue_name": queue, "dead_letter_queue": queue + DEAD_LETTER_SUFFIX}
        parameters = {name: value for name, value in names.items() if f":{name}" in needed.row}
        statement = observing_rights.meets(self.table, needed.row, one_of, all_of)
        return question.is_so(statement, parameters)


def _by_policies(
    question: Question, role: str, queue: str, actions: Collection[Action]
) -> dict[Action, str]:
    """Return what row-level security refuses of these actions on the messages of a queue."""
    of_table = {name: _policies(question, name) for name in (TABLE_NAME, QUEUE_TABLE_NAME)}
    refused: dict[Action, str] = {}
    for action in sorted(actions):
        policies = of_table[QUEUE_TABLE_NAME if action is Action.PAUSE else TABLE_NAME]
        if policies is not None and not all(
            policies.meet(question, queue, needed) for needed in _ROWS[action]
        ):
            refused[action] = _refusal(question, role, action, queue)
    return refused


def _policies(question: Question, table: str) -> _Policies | None:
    """Return the policies of a table; None if none limits the role."""
    named = {"named_table": qualified(table, question.schema)}
    (limited,) = question.run(observing_rights.is_limited(), named)
    if not limited.is_limited:
        return None
    return _Policies(table, question.run(observing_rights.policies(), named))
