"""Compare what ordering keys have in a database with what this xclaim would make there today."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from sqlalchemy import Connection

from xclaim.connections import direct
from xclaim.operations.capabilities import functions_in, home_of
from xclaim.sql import ordering
from xclaim.sql.dialects import SQLITE
from xclaim.sql.ordering import Definition
from xclaim.sql.revision import qualified
from xclaim.sql.schema import LINE_UP_NAME, PASS_OWED_NAME
from xclaim.sql.statements import diagnosing
from xclaim.sql.statements.functions import Made

__all__ = [
    "GRANTS",
    "differing_parts",
    "drop_overloads",
    "has_a_trigger",
    "missing_parts",
    "moving_parts",
]

GRANTS = "who may execute it"
_GRANTED_TO = {LINE_UP_NAME: "INSERT", PASS_OWED_NAME: "UPDATE"}  # whoever has that on the table
# How PostgreSQL shows an index is how it was made, but for this. What an index is stored with is
# for an administrator to say.
_SHOWN = re.compile(r" USING btree| WITH \(.*?\)(?= WHERE |$)")
# Where a session is set so (quote_all_identifiers) all names are shown quoted.
_QUOTE = re.compile(r"(E?'(?:[^']|'')*')|\x22")
_CAST = re.compile(r"::\w+")
_TOKEN = re.compile(r"E?'(?:[^']|'')*'|[\w.]+|[<>=!]+|\S")
_ENDS_OPERAND = {"and", "or", ")"}


def missing_parts(connection: Connection, schema: str | None) -> list[str]:
    """Return the names of what ordering keys need and the database has not, or not valid."""
    if connection.dialect.name == SQLITE.name:
        wanted = {*ordering.INDEXES, *ordering.SQLITE_TRIGGERS}
        rows = connection.exec_driver_sql("SELECT name FROM sqlite_master").all()
    else:
        wanted = {*ordering.INDEXES, *moving_parts()}
        rows = list(direct.run(connection, diagnosing.parts(), {"schema": schema}))
    return sorted(wanted - {row.name for row in rows})


def moving_parts() -> set[str]:
    """Return the names of the triggers and functions of PostgreSQL, as the missing ones are."""
    return {*map(_trigger, ordering.TRIGGERS), *ordering.FUNCTIONS}


def has_a_trigger(connection: Connection, schema: str) -> bool:
    """Return whether one of the triggers is there, be it disabled (PostgreSQL)."""
    rows = direct.run(connection, diagnosing.definitions(), {"schema": schema})
    return not {row.name for row in rows}.isdisjoint(ordering.TRIGGERS)


def differing_parts(connection: Connection, schema: str | None) -> dict[str, str]:
    """Return what is there and is not as it would be made: by its name in what it differs.

    Somebody has changed it, or another xclaim has made it, or the schema had another name then, or
    the table another owner. ``GRANTS`` alone: it does what it should.
    """
    if connection.dialect.name == SQLITE.name:
        return dict(_of_file(connection))
    home = home_of(connection, schema)
    found = {
        row.name: row
        for row in direct.run(connection, diagnosing.definitions(), {"schema": home.schema})
    }
    return {
        **dict(_of_indexes(found, home.schema)),
        **dict(_of_triggers(found, home.schema)),
        **dict(_of_functions(connection, home)),
    }


def drop_overloads(connection: Connection, schema: str) -> list[str]:
    """Return the statements that drop functions that have a name of ours, and take something else.

    Another xclaim has made them, or somebody who wants them to be called instead of ours.
    """
    return [
        f"DROP FUNCTION {qualified(made.name, schema)}({made.types})"
        for made in functions_in(connection, schema)
        if _is_overload(made)
    ]


def _is_overload(made: Made) -> bool:
    return made.name in ordering.FUNCTIONS and made.types != ordering.FUNCTIONS[made.name]


def _trigger(name: str) -> str:
    return f"trigger {name}"


def _of_file(connection: Connection) -> Iterator[tuple[str, str]]:
    wanted = {each.replace("IF NOT EXISTS ", "") for each in ordering.enabling(SQLITE)}
    names = {*ordering.INDEXES, *ordering.SQLITE_TRIGGERS}
    for row in connection.exec_driver_sql("SELECT name, sql FROM sqlite_master").all():
        if row.name in names and row.sql not in wanted:
            yield row.name, "definition"


def _of_indexes(found: dict[str, Any], schema: str) -> Iterator[tuple[str, str]]:
    for name, statement in ordering.indexes(schema).items():
        if name in found and _as_shown(found[name].definition) != _as_shown(statement):
            yield name, "definition"


def _of_triggers(found: dict[str, Any], schema: str) -> Iterator[tuple[str, str]]:
    for name, statement in ordering.triggers(schema).items():
        if name not in found:
            continue
        wanted, _, calls = statement.rpartition(" EXECUTE FUNCTION ")
        made, _, _ = found[name].definition.rpartition(" EXECUTE FUNCTION ")
        is_same = _unquoted(calls) == _unquoted(f"{found[name].calls}()")
        if not is_same or _as_shown(made) != _as_shown(wanted):
            yield _trigger(name), "definition"


def _of_functions(connection: Connection, home: Any) -> Iterator[tuple[str, str]]:
    made_here = functions_in(connection, home.schema)
    writers = direct.run(connection, diagnosing.writers(), {"schema": home.schema})
    for wanted in ordering.definitions(home.schema):
        right = _GRANTED_TO.get(wanted.name)
        granted = {row.role for row in writers if row.privilege == right}
        of_the_name = [made for made in made_here if made.name == wanted.name]
        differs = [
            what
            for made in of_the_name
            if not _is_overload(made)
            for what in _differences(made, wanted, home.owner, granted)
        ]
        if any(map(_is_overload, of_the_name)):
            differs.append("another function of that name beside it")
        if differs:
            yield wanted.name, ", ".join(differs)


def _differences(made: Made, wanted: Definition, owner: str, granted: set[str]) -> Iterator[str]:
    takes = zip(made.argument_names, made.argument_types, strict=False)
    security = "DEFINER" if wanted.is_definer else "INVOKER"
    executing = {*made.grantees, *(["PUBLIC"] if made.is_public else [])}
    of_each = {
        "body": made.body == wanted.body,
        "arguments": ", ".join(map(" ".join, takes)) == wanted.takes,
        "result": made.result == wanted.returns,
        "settings": made.settings == wanted.settings,
        f"rights (SECURITY {security})": made.is_definer == wanted.is_definer,
        "language": (made.language, made.volatility) == ("plpgsql", "v"),
        "owner": made.owner == owner,
        GRANTS: executing == granted,
    }
    yield from (name for name, is_same in of_each.items() if not is_same)


def _as_shown(definition: str) -> tuple[str, Any]:
    """Return an index or trigger so that two are equal that are written differently."""
    head, _, condition = re.sub(" WHEN ", " WHERE ", definition).rpartition(" WHERE ")
    tokens = [
        token if "'" in token else token.lower()
        for token in _TOKEN.findall(_CAST.sub("", _QUOTE.sub(r"\1", condition)))
    ]
    return _SHOWN.sub("", _unquoted(head)), _any_of(tokens)


def _unquoted(head: str) -> str:
    return head.replace('"', "")


def _any_of(tokens: list[str]) -> Any:
    return _joined("or", tokens, _all_of)


def _all_of(tokens: list[str]) -> Any:
    return _joined("and", tokens, _operand)


def _joined(word: str, tokens: list[str], read: Any) -> Any:
    parts = [read(tokens)]
    while tokens and tokens[0] == word:
        tokens.pop(0)
        parts.append(read(tokens))
    return parts[0] if len(parts) == 1 else (word, *parts)


def _operand(tokens: list[str]) -> Any:
    words: list[Any] = []
    while tokens and tokens[0] not in _ENDS_OPERAND:
        word = tokens.pop(0)
        if word == "(":
            words.append(_any_of(tokens))
            tokens.pop(0)
        else:
            words.append(word)
    return words[0] if len(words) == 1 else tuple(words)
