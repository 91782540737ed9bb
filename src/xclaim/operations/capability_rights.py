"""Compare what a role of a capability may do with what it would be granted."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import Connection

from xclaim.connections.direct import run
from xclaim.sql.revision import qualified
from xclaim.sql.schema import TABLE_NAME
from xclaim.sql.statements import functions
from xclaim.sql.statements.granted import Facts, Grant, quoted
from xclaim.sql.statements.granting import narrowing

__all__ = ["Right", "missing_and_more"]

_PRIVILEGE = re.compile(r"(?P<name>\w+)(?: \((?P<columns>[^)]*)\))?")
_POLICY = "POLICY "


@dataclass(frozen=True, slots=True, order=True)
class Right:
    """A privilege on a table, view or function of ours, or on a column; or a policy of a table."""

    privilege: str
    on: str
    column: str = ""

    def __str__(self) -> str:
        column = f" ({self.column})" if self.column else ""
        return f"{self.privilege}{column} on {self.on}"


def missing_and_more(
    connection: Connection, grant: Grant, found: Facts
) -> tuple[list[Right], list[Right]]:
    """Return the rights that the role of a grant lacks, and those that it has besides."""
    wanted, given = set(_wanted(grant, found)), set(_given(connection, grant, found))
    return sorted(wanted - given), sorted(given - wanted)


def _wanted(grant: Grant, found: Facts) -> Iterator[Right]:
    """Yield what the statements give that would be run, of which revoking comes first."""
    role, place = quoted(grant.role), f"{quoted(found.schema)}."
    for statement in narrowing(grant, found):
        if statement.startswith("CREATE POLICY "):
            named, _, rest = statement.removeprefix("CREATE POLICY ").partition(f" ON {place}")
            yield Right(_POLICY + _unquoted(named), rest.partition(" ")[0])
        elif statement.startswith("GRANT ") and not statement.startswith("GRANT USAGE ON SCHEMA "):
            granted, _, rest = statement.removeprefix("GRANT ").partition(" ON ")
            objects = rest.removeprefix("FUNCTION ").removesuffix(f" TO {role}")
            for name in filter(None, (each.strip(", ") for each in objects.split(place))):
                yield from _on(name, granted)


def _on(name: str, granted: str) -> Iterator[Right]:
    for privilege in _PRIVILEGE.finditer(granted):
        for column in (privilege["columns"] or "").split(", "):
            yield Right(privilege["name"], name, column)


def _given(connection: Connection, grant: Grant, found: Facts) -> Iterator[Right]:
    table = qualified(TABLE_NAME, found.schema)
    given = {"message_table": table, "role": grant.role}
    for row in run(connection, functions.rights(), given):
        if row.name.startswith("xclaim_"):
            yield Right(row.privilege, functions.plain_types(row.name), row.column_name)


def _unquoted(name: str) -> str:
    return name[1:-1].replace('""', '"') if name.startswith('"') else name
