"""Compare the functions of the verbs, and those of capabilities, with what would be made today."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from xclaim.connections.direct import run
from xclaim.operations import verb_functions
from xclaim.operations.capabilities import functions_in, home_of, surroundings_of
from xclaim.operations.capability_rights import missing_and_more
from xclaim.operations.migrate import revision_modules, script_directory
from xclaim.operations.verb_functions import Wanted
from xclaim.sql.revision import commands_of, is_newer, qualified, quoted, read_revision
from xclaim.sql.schema import TABLE_NAME
from xclaim.sql.statements import functions
from xclaim.sql.statements.capabilities import (
    PARTS,
    Capability,
    Surroundings,
    grant_of,
    of_comment,
    role_of,
    wrapper,
)
from xclaim.sql.statements.functions import Made
from xclaim.sql.statements.granted import Facts, Grant
from xclaim.sql.statements.policies import policy_names


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """What is not as it would be made, and what to do about it; ``is_open``: it gives rights."""

    found: str
    remedy: str
    is_open: bool = False


def verbs_that_differ(connection: Connection, schema: str | None) -> Iterator[Difference]:
    """Yield what differs of the functions that the migrations make; nothing at a later revision."""
    revision = read_revision(connection, schema)
    if revision is not None and is_newer(revision):
        return
    home = home_of(connection, schema)
    made_here = functions_in(connection, home.schema)
    anew = f"run {commands_of(connection).command('upgrade', schema)} as {quoted(home.owner)}"
    modules = revision_modules(script_directory())
    for name, wanted in verb_functions.of_migrations(modules, home.schema).items():
        of_the_name = [made for made in made_here if made.name == name]
        made = wanted.nearest(of_the_name, home.owner)
        if made is None:
            yield Difference(
                found=f"{name} is missing",
                remedy=f"{anew}, and `xclaim grants` for the roles that are to call it",
            )
            continue
        yield from _beside(home, made, of_the_name)
        yield from _of_verb(home, made, wanted, anew)


def _beside(home: Any, made: Made, of_the_name: list[Made]) -> Iterator[Difference]:
    for other in of_the_name:
        if other is not made:
            yield Difference(
                found=f"{other.owner} has put a function beside {made.name}",
                remedy=f"DROP FUNCTION {quoted(home.schema)}.{made.name}({other.types})",
                is_open=True,
            )


def _of_verb(home: Any, made: Made, wanted: Wanted, anew: str) -> Iterator[Difference]:
    if differs := list(wanted.differences(made)):
        yield Difference(
            found=f"{made.name} differs in {', '.join(differs)}",
            remedy=anew,
            is_open=wanted.is_definer or made.is_definer,
        )
    named = f"{quoted(home.schema)}.{made.name}({made.types})"
    if made.owner != home.owner:
        yield Difference(
            found=f"{made.name} belongs to {made.owner}",
            remedy=f"ALTER FUNCTION {named} OWNER TO {quoted(home.owner)}",
            is_open=True,
        )
    if made.is_public:
        yield Difference(
            found=f"everybody may execute {made.name}",
            remedy=f"REVOKE ALL ON FUNCTION {named} FROM PUBLIC",
        )


def capabilities_that_differ(
    connection: Connection, schema: str | None
) -> Iterator[tuple[Capability, list[Difference]]]:
    """Yield each capability of the schema, with what differs from what would be made of it.

    And those of a schema that has no table: it may have another name by now.
    """
    home = home_of(connection, schema)
    for row in run(connection, functions.comments(), {}):
        capability = of_comment(row.name, row.comment)
        if capability is None:
            continue
        if capability.schema != home.schema:
            if row.owner == home.owner and not _has_table(connection, capability.schema):
                yield capability, [_astray(connection, schema, capability)]
            continue
        found = surroundings_of(connection, row.name, schema)
        if row.owner != home.owner and not _runs_as_ours(capability, found):
            yield capability, [_of_others(row)]
            continue
        differences = [
            *_of_place(row, home),
            *_of_functions(connection, schema, capability, found),
            *_of_roles(connection, schema, capability, found),
            *_left_over(capability, found, _again(connection, schema, capability)),
        ]
        yield capability, differences


def _has_table(connection: Connection, schema: str) -> bool:
    return bool(run(connection, functions.tables(), {"home": schema, "name": TABLE_NAME}))


def _astray(connection: Connection, schema: str | None, capability: Capability) -> Difference:
    drop = shlex.join(["grants", "capability", capability.name, "--drop", "--apply"])
    return Difference(
        found=f"all functions look for the table in {capability.schema!r}, where there is none",
        remedy=f"run {commands_of(connection).command(drop, schema)}, and make it anew",
    )


def _runs_as_ours(capability: Capability, found: Surroundings) -> bool:
    """Return whether all functions have roles of ours, which nobody but a role itself can give."""
    return all(
        made.name in PARTS
        and made.owner == role_of(capability.name, PARTS[made.name], found.database)
        and found.roles[PARTS[made.name]].policies
        for made in found.wrappers
    ) and bool(found.wrappers)


def _of_others(row: Any) -> Difference:
    return Difference(
        found=f"is no capability of ours: the schema belongs to {row.owner}, who has written its "
        "comment, and no roles of ours run its functions",
        remedy=f"ask {row.owner} what it is for, or DROP SCHEMA {quoted(row.name)} CASCADE",
        is_open=True,
    )


def _of_place(row: Any, home: Any) -> Iterator[Difference]:
    if not home.is_secured:
        table = qualified(TABLE_NAME, home.schema)
        yield Difference(
            found="row-level security is off, and a token of another queue would settle there",
            remedy=f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY",
            is_open=True,
        )
    if row.owner != home.owner:
        yield Difference(
            found=f"the schema belongs to {row.owner}",
            remedy=f"ALTER SCHEMA {quoted(row.name)} OWNER TO {quoted(home.owner)}",
            is_open=True,
        )
    if row.creators:
        roles = ", ".join(role if role == "PUBLIC" else quoted(role) for role in row.creators)
        yield Difference(
            found=f"{roles} may create objects in the schema",
            remedy=f"REVOKE CREATE ON SCHEMA {quoted(row.name)} FROM {roles}",
            is_open=True,
        )


def _of_functions(
    connection: Connection, schema: str | None, capability: Capability, found: Surroundings
) -> Iterator[Difference]:
    again = _again(connection, schema, capability)
    there = {made.name for made in found.wrappers}
    for verb in capability.verbs:
        if verb not in there:
            yield Difference(found=f"{verb} is missing", remedy=again)
    for made in found.wrappers:
        named = f"{quoted(capability.name)}.{quoted(made.name)}({made.types})"
        if made.name in capability.verbs and made.name not in found.verbs:
            continue  # the function of the verb is missing, which is said of that
        if made.name not in capability.verbs:
            yield Difference(
                found=f"{made.name} is not of the capability",
                remedy=f"DROP FUNCTION {named}",
                is_open=True,
            )
            continue
        wanted = wrapper(capability, made.name, found.verbs[made.name], found.database)
        if differs := list(wanted.differences(made)):
            yield Difference(
                found=f"{made.name} differs in {', '.join(differs)}", remedy=again, is_open=True
            )
        if made.is_public:
            yield Difference(
                found=f"everybody may execute {made.name}",
                remedy=f"REVOKE ALL ON FUNCTION {named} FROM PUBLIC",
                is_open=True,
            )
        for role in made.granters:
            if role != found.owner:  # it was he who made it, perhaps, and another owns the table
                owner = quoted(made.owner)
                yield Difference(
                    found=f"{role} may give {made.name} to others",
                    remedy=f"GRANT {owner} TO CURRENT_USER; REVOKE ALL ON FUNCTION {named} FROM "
                    f"{quoted(role)} CASCADE; REVOKE {owner} FROM CURRENT_USER",
                )


def _of_roles(
    connection: Connection, schema: str | None, capability: Capability, found: Surroundings
) -> Iterator[Difference]:
    again = _again(connection, schema, capability)
    roles = {part: role_of(capability.name, part, found.database) for part in capability.parts}
    rows = run(connection, functions.roles(), {"names": list(roles.values())})
    for row in rows:
        role = quoted(row.name)
        if row.is_more:
            attributes = "NOLOGIN NOSUPERUSER NOCREATEROLE NOCREATEDB NOREPLICATION NOBYPASSRLS"
            yield Difference(
                found=f"the role {row.name} may log in or has other attributes",
                remedy=f"ALTER ROLE {role} {attributes}",
                is_open=True,
            )
        for member in row.members:
            yield Difference(
                found=f"{member} is a member of the role {row.name}, and can do what it can",
                remedy=f"REVOKE {role} FROM {quoted(member)}",
                is_open=True,
            )
        for group in row.groups:
            yield Difference(
                found=f"the role {row.name} is a member of {group}",
                remedy=f"REVOKE {quoted(group)} FROM {role}",
                is_open=True,
            )
    for part, role_name in roles.items():
        facts = found.roles[part]
        grant = grant_of(part, role_name, capability.queue)
        if set(facts.policies) != set(policy_names(grant)):
            yield Difference(
                found=f"the role {role_name} has other policies", remedy=again, is_open=True
            )
        elif facts.is_role:
            yield from _of_rights(connection, grant, facts, again)
        if facts.wider:
            yield Difference(
                found=f"the role {role_name} has more than it was granted, by "
                f"{', '.join(facts.wider)}",
                remedy="revoke that from everybody",
                is_open=True,
            )


def _of_rights(
    connection: Connection, grant: Grant, facts: Facts, again: str
) -> Iterator[Difference]:
    missing, more = missing_and_more(connection, grant, facts)
    if missing:
        yield Difference(
            found=f"the role {grant.role} lacks {', '.join(map(str, missing))}", remedy=again
        )
    if more:
        yield Difference(
            found=f"the role {grant.role} has besides {', '.join(map(str, more))}",
            remedy=again,
            is_open=True,
        )


def _left_over(capability: Capability, found: Surroundings, again: str) -> Iterator[Difference]:
    """Yield the roles that none of its verbs needs: of one that was dropped by hand, or cut off.

    And those that were made when the database had another name, or for the database that it is a
    copy of: their rights here go when it is made again.
    """
    for former in found.former:
        yield Difference(
            found=f"the role {former} is of a former name of the database, or of its original",
            remedy=again,
            is_open=True,
        )
    for part, facts in found.roles.items():
        if facts.is_role and part not in capability.parts:
            name = role_of(capability.name, part, found.database)
            role = quoted(name)
            yield Difference(
                found=f"the role {name} is left of a verb that it has no more",
                remedy=f"GRANT {role} TO CURRENT_USER; DROP OWNED BY {role}; DROP ROLE {role}",
                is_open=True,
            )


def _again(connection: Connection, schema: str | None, capability: Capability) -> str:
    words = ["grants", "capability", capability.name, "--queue", capability.queue]
    words += ["--verbs", ",".join(capability.verbs), "--apply"]
    return f"run {commands_of(connection).command(shlex.join(words), schema)}"
