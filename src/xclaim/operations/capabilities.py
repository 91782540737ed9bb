"""Make, change and drop capabilities: each the right to one verb on one queue, as a function."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection

from xclaim import arguments
from xclaim.connections.direct import run
from xclaim.connections.encodings import check_names
from xclaim.errors import InvalidArgumentError
from xclaim.operations import grants
from xclaim.operations.grants import read_facts, run_all, schema_with_roles, script
from xclaim.sql.revision import mismatch, qualified
from xclaim.sql.schema import TABLE_NAME
from xclaim.sql.statements import functions
from xclaim.sql.statements.capabilities import (
    PARTS,
    Capability,
    Surroundings,
    dropping,
    grant_of,
    is_role_of,
    making,
    of_comment,
    role_of,
)
from xclaim.sql.statements.functions import Made, made_of
from xclaim.sql.statements.granted import VERBS, Facts, function
from xclaim.sql.statements.policies import policy_names

__all__ = ["Drop", "Plan", "plan", "plan_drop"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A capability as it is to be, and what its database has: the statements follow from both."""

    capability: Capability
    surroundings: Surroundings

    @property
    def statements(self) -> list[str]:
        """The statements in their order, for one transaction."""
        return making(self.capability, self.surroundings)

    @property
    def roles(self) -> dict[str, str]:
        """The roles that run the functions, by what they are for."""
        name, database = self.capability.name, self.surroundings.database
        return {part: role_of(name, part, database) for part in self.capability.parts}

    @property
    def remarks(self) -> list[str]:
        """What the one who runs them should know: the same as of the roles that are made."""
        remarks = [
            remark
            for part, role in self.roles.items()
            for remark in grants.Plan(
                grant=grant_of(part, role, self.capability.queue),
                facts=self.surroundings.roles[part],
            ).remarks
        ]
        return list(dict.fromkeys(remarks))

    @property
    def script(self) -> str:
        """The statements as SQL for a person to read and run, with the remarks as comments."""
        title = (
            f"The capability {self.capability.name}: {', '.join(self.capability.verbs)} in queue "
            f"{self.capability.queue}."
        )
        return script([title, *self.remarks], self.statements)

    def apply(self, connection: Connection) -> dict[str, Any]:
        """Run the statements in the transaction of the connection; return what was done."""
        run_all(connection, self.statements)
        found = self.surroundings
        return {
            "capability": self.capability.name,
            "queue": self.capability.queue,
            "verbs": list(self.capability.verbs),
            "to": list(found.grantees),
            "roles": list(self.roles.values()),
            "created": not found.is_schema,
            "without_policy": list(
                dict.fromkeys(
                    role for part in self.roles for role in found.roles[part].without_policy
                )
            ),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Drop:
    """A capability that is to go."""

    name: str
    surroundings: Surroundings

    @property
    def statements(self) -> list[str]:
        """The statements in their order, for one transaction."""
        return dropping(self.name, self.surroundings)

    @property
    def script(self) -> str:
        """The statements as SQL for a person to read and run."""
        return script([f"Without the capability {self.name}."], self.statements)

    def apply(self, connection: Connection) -> dict[str, Any]:
        """Run the statements in the transaction of the connection; return what was done."""
        run_all(connection, self.statements)
        return {"capability": self.name, "dropped": True}


def plan(
    connection: Connection,
    name: str,
    queue: str,
    verbs: Iterable[str],
    *,
    to: Iterable[str] = (),
    schema: str | None = None,
) -> Plan:
    """Return how a schema ``name`` gets one function for each verb, on this queue and no other.

    Nothing is changed before ``Plan.apply``. ``to``: roles that may call all of them; made without
    a login if they are missing. Of a capability that is there the verbs are changed, and who may
    call those that stay still may. Raise InvalidArgumentError for what cannot be, for a schema or
    role of that name that is something else, and on SQLite, which has no roles; SchemaVersionError
    if the schema is missing or older.
    """
    capability = _checked(name, queue, verbs)
    grantees = tuple(dict.fromkeys(map(arguments.role_name, _listed("to", to))))
    check_names(connection, name=name, queue=queue, to=" ".join(grantees))
    resolved = schema_with_roles(connection, schema)
    found = surroundings_of(connection, name, resolved, grantees)
    capability = replace(capability, schema=found.schema)
    before = _made_before(name, found)
    if found.is_schema:
        _refuse_another(name, before, capability)
    _refuse_others(found, name, _own_parts(connection, name, before, found))
    missing = [verb for verb in capability.verbs if verb not in found.verbs]
    if missing:
        raise mismatch(None, resolved, connection)
    return Plan(capability=capability, surroundings=found)


def plan_drop(connection: Connection, name: str, *, schema: str | None = None) -> Drop:
    """Return how a capability is taken away, with its schema, its functions and its roles.

    A role of such a name that somebody else has made stays.
    """
    checked = arguments.schema_name(name)
    check_names(connection, name=checked)
    resolved = schema_with_roles(connection, schema)
    found = surroundings_of(connection, checked, resolved)
    before = _made_before(checked, found)
    if before is None:
        raise InvalidArgumentError(f"there is no capability {checked!r}: nothing is to be dropped")
    own = _own_parts(connection, checked, before, found)
    roles = {part: facts for part, facts in found.roles.items() if part in own}
    return Drop(name=checked, surroundings=replace(found, roles=roles))


def surroundings_of(
    connection: Connection, name: str, schema: str | None, grantees: Iterable[str] = ()
) -> Surroundings:
    """Return what the database has that a capability of this name is about."""
    row = _names(connection, schema, name)
    roles = {
        part: read_facts(connection, schema, role_of(name, part, row.database))
        for part in dict.fromkeys(map(str, PARTS.values()))
    }
    verbs = {function(verb): verb for verb in VERBS}
    wrappers = tuple(functions_in(connection, name))
    return Surroundings(
        database=row.database,
        schema=row.schema,
        owner=row.owner,
        schema_owner=row.schema_owner,
        comment=row.comment,
        is_schema=row.is_schema,
        is_secured=row.is_secured,
        roles=roles,
        grantees={role: read_facts(connection, schema, role).is_role for role in grantees},
        verbs={
            verbs[each.name]: each
            for each in functions_in(connection, row.schema)
            if each.name in verbs and each.owner == row.owner  # not what others put beside it
        },
        wrappers=wrappers,
        former=_former_roles(connection, name, schema, row, wrappers),
    )


def _former_roles(
    connection: Connection, name: str, schema: str | None, row: Any, wrappers: Iterable[Made]
) -> dict[str, Facts]:
    """Return the roles that were made for its functions in a database of another name.

    They have policies, which only the owner of the table makes.
    """
    former = {
        made.owner: read_facts(connection, schema, made.owner)
        for made in wrappers
        if made.name in PARTS
        and made.owner != role_of(name, PARTS[made.name], row.database)
        and is_role_of(made.owner, name, PARTS[made.name])
    }
    closed = _without_more(connection, former)
    return {role: facts for role, facts in former.items() if role in closed and facts.policies}


def _without_more(connection: Connection, roles: Iterable[str]) -> set[str]:
    """Return which of the roles nobody can be, and can do nothing but what they are granted."""
    rows = run(connection, functions.roles(), {"names": list(roles)})
    return {row.name for row in rows if not row.is_more and not row.members}


def functions_in(connection: Connection, schema: str) -> list[Made]:
    """Return the functions of a schema."""
    return [made_of(row) for row in run(connection, functions.functions(), {"home": schema})]


def home_of(connection: Connection, schema: str | None) -> Any:
    """Return the names of the database, of the schema of the table, and of its owner."""
    return _names(connection, schema, "")


def _names(connection: Connection, schema: str | None, name: str) -> Any:
    table = qualified(TABLE_NAME, schema)
    given = {"name": name, "message_table": table}
    rows = run(connection, functions.surroundings(), given)
    if not rows:
        raise mismatch(None, schema, connection)
    return rows[0]


def _checked(name: str, queue: str, verbs: Iterable[str]) -> Capability:
    named = arguments.schema_name(name)
    chosen = list(dict.fromkeys(_listed("verbs", verbs)))
    if not chosen:
        raise InvalidArgumentError(f"a capability needs verbs: choose of {', '.join(PARTS)}")
    for verb in chosen:
        if verb not in PARTS:
            raise InvalidArgumentError(f"verb {verb!r} is unknown: use {', '.join(PARTS)}")
    checked = arguments.queue_name(queue)
    if {"push", "push_many"} & {*chosen}:
        arguments.pushable(checked)
    if "redrive" in chosen and checked.endswith(arguments.DEAD_LETTER_SUFFIX):
        own = checked.removesuffix(arguments.DEAD_LETTER_SUFFIX)
        raise InvalidArgumentError(
            f"redrive brings the letters of {checked!r} back to {own!r}, for which this capability "
            f"would not be: make one with redrive for {own!r}"
        )
    ordered = tuple(verb for verb in PARTS if verb in chosen)
    return Capability(name=named, queue=checked, verbs=ordered, schema="")


def _listed(name: str, values: Iterable[str]) -> Iterable[str]:
    if isinstance(values, str):
        raise InvalidArgumentError(f"{name} must be a list, not text: pass [{values!r}]")
    return values


def _made_before(name: str, found: Surroundings) -> Capability | None:
    """Return the capability that is there: in a schema of another owner the comment is only his."""
    return of_comment(name, found.comment) if found.schema_owner == found.owner else None


def _refuse_another(name: str, before: Capability | None, capability: Capability) -> None:
    if before is None:
        raise InvalidArgumentError(
            f"schema {name!r} is there and no capability: choose another name"
        )
    if (before.queue, before.schema) != (capability.queue, capability.schema):
        raise InvalidArgumentError(
            f"capability {name!r} is for queue {before.queue!r} in schema {before.schema!r}, and "
            "who may call its functions would get another: choose another name, or drop it first"
        )


def _own_parts(
    connection: Connection, name: str, before: Capability | None, found: Surroundings
) -> frozenset[str]:
    """Return for what its roles are there, and not somebody else's of the same names.

    They run a function of it, or, where that is lost, have just its policies: only the owner of the
    table makes those.
    """
    owners = {made.owner for made in found.wrappers}
    roles = {
        part: role_of(name, part, found.database)
        for part, facts in found.roles.items()
        if facts.is_role
    }
    closed = _without_more(connection, roles.values())
    return frozenset(
        part
        for part, role in roles.items()
        if role in owners
        or (
            before is not None
            and role in closed
            and {*found.roles[part].policies} == {*policy_names(grant_of(part, role, before.queue))}
        )
    )


def _refuse_others(found: Surroundings, name: str, own: Iterable[str]) -> None:
    """Refuse roles that somebody else has made: he may be a member, or become one."""
    for part, facts in found.roles.items():
        if facts.is_role and part not in own:
            raise InvalidArgumentError(
                f"role {role_of(name, part, found.database)!r} is there already, and runs no "
                "function of the capability: drop it, or choose another name"
            )
