"""The functions of PostgreSQL that the migrations make: what a database has of them, made anew."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Text, bindparam, text
from sqlalchemy.exc import DBAPIError

from xclaim.connections.direct import run
from xclaim.operations.capabilities import functions_in, home_of
from xclaim.operations.grants import run_all
from xclaim.sql.dialects import SQLITE
from xclaim.sql.revision import qualified, quoted
from xclaim.sql.statements.functions import Made
from xclaim.sql.statements.granted import text_literal

__all__ = ["Wanted", "make_anew", "of_migrations"]

_SETTING = re.compile(r"\bSET (\w+) = (.+?)(?=\s+SET |\s*\Z)", re.DOTALL)
_INVALID_DEFINITION = "42P13"  # it would return something else, or call its arguments otherwise
_IS_ROLE = text("SELECT pg_has_role(:role, 'USAGE') AS is_role").bindparams(
    bindparam("role", type_=Text)
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A function as the last revision that has it makes it."""

    name: str
    head: str
    body: str

    @property
    def is_definer(self) -> bool:
        """Whether it has the rights of its owner."""
        return "SECURITY DEFINER" in self.head

    @property
    def statement(self) -> str:
        """How it is made, in place of the one that there is."""
        return f"{self.head} AS {text_literal(self.body)}"

    def differences(self, made: Made) -> Iterator[str]:
        """Yield in what a function differs from this one."""
        settings = tuple(f"{name}={value}" for name, value in _SETTING.findall(self.head))
        security = "DEFINER" if self.is_definer else "INVOKER"
        of_each = {
            "body": made.body.strip() == self.body.strip(),
            "settings": made.settings == settings,
            f"rights (SECURITY {security})": made.is_definer == self.is_definer,
            "volatility": made.volatility == ("s" if "STABLE" in self.head else "v"),
        }
        yield from (name for name, is_same in of_each.items() if not is_same)

    def nearest(self, of_the_name: Iterable[Made], owner: str) -> Made | None:
        """Return which of the functions of this name it is, None if there are none.

        That of the owner of the table, and of several the one that differs in the least.
        """

        def distance(made: Made) -> tuple[bool, int]:
            return made.owner != owner, len(list(self.differences(made)))

        return min(of_the_name, key=distance, default=None)


def of_migrations(modules: Iterable[object], home: str) -> dict[str, Wanted]:
    """Return the functions of the revisions by their names, for the schema ``home``."""
    found: dict[str, Wanted] = {}
    for module in modules:
        define: Any = getattr(module, "function_definitions", None)
        if define is not None:
            found |= {
                name: Wanted(name=name, head=head, body=body) for name, head, body in define(home)
            }
    return found


def make_anew(connection: Connection, modules: Iterable[object], schema: str | None) -> None:
    """Make the functions that are missing or differ.

    Who may call them still may, but for everybody. Nothing is done by a role that is not the owner
    of the table, nor to a function whose owner it is not: the doctor names what is left.
    """
    if connection.dialect.name == SQLITE.name:
        return
    home = home_of(connection, schema)
    made_here = functions_in(connection, home.schema)
    for name, wanted in of_migrations(modules, home.schema).items():
        of_the_name = [made for made in made_here if made.name == name]
        made = wanted.nearest(of_the_name, home.owner)
        is_same = made is not None and made.owner == home.owner
        if made is not None and is_same and not list(wanted.differences(made)):
            continue
        owners = {home.owner, home.owner if made is None else made.owner}
        if all(run(connection, _IS_ROLE, {"role": owner})[0].is_role for owner in owners):
            _make(connection, home, wanted, made, of_the_name)


def _make(
    connection: Connection, home: Any, wanted: Wanted, made: Made | None, before: list[Made]
) -> None:
    function = qualified(wanted.name, home.schema)
    try:
        with connection.begin_nested():
            run_all(connection, [wanted.statement])
    except DBAPIError as error:
        if made is None or getattr(error.orig, "sqlstate", None) != _INVALID_DEFINITION:
            raise
        run_all(connection, [f"DROP FUNCTION {function}({made.types})", wanted.statement])
    after = [each for each in functions_in(connection, home.schema) if each.name == wanted.name]
    # Somebody may have others of its name, with other types: it is the one that is new, or changed.
    anew = wanted.nearest([each for each in after if each not in before] or after, home.owner)
    if anew is None:
        return
    named = f"{function}({anew.types})"
    handed = [f"ALTER FUNCTION {named} OWNER TO {quoted(home.owner)}"]
    called_by = () if made is None else made.grantees
    run_all(
        connection,
        [
            *(handed if anew.owner != home.owner else []),
            f"REVOKE ALL ON FUNCTION {named} FROM PUBLIC",
            *[f"GRANT EXECUTE ON FUNCTION {named} TO {quoted(role)}" for role in called_by],
        ],
    )
