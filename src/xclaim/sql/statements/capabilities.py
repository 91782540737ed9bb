"""Capabilities: the right to one verb on one queue, as a function that has the queue within.

Each is a wrapper around the function of its verb, made from that function as the database has it.
It runs with the rights of a role that cannot log in and can do nothing but this, on this queue.
PostgreSQL only (docs/adr/0061).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256

from xclaim.arguments import MAX_IDENTIFIER_BYTES
from xclaim.sql.statements.functions import MARK, Made
from xclaim.sql.statements.granted import Facts, Grant, Kind, Part, function, quoted, text_literal
from xclaim.sql.statements.granting import PREPARING, narrowing, parting

# Which role runs the function of a verb. None of them can do what another one does.
PARTS: Mapping[str, str] = {
    "push": Kind.PRODUCER,
    "push_many": Kind.PRODUCER,
    "claim": Kind.CONSUMER,
    "ack": Kind.CONSUMER,
    "ack_many": Kind.CONSUMER,
    "release": Kind.CONSUMER,
    "extend": Kind.CONSUMER,
    "expire": Kind.CONSUMER,
    "redrive": Kind.MAINTAINER,
    "withdraw": Part.DELETER,
    "prune": Part.DELETER,
    "peek": "reader",
    "counts": Kind.OBSERVER,
}
_KINDS: Mapping[str, Kind | Part] = {
    **{str(part): part for part in (Kind.PRODUCER, Kind.CONSUMER, Kind.OBSERVER)},
    **{str(part): part for part in (Kind.MAINTAINER, Part.DELETER)},
    "reader": Kind.OBSERVER,
}
# Who it was is said by the server, and what a caller adds; a key is one of its caller's own. A name
# has the collation C, and with that the function would find no index for what it compares.
# A slash in a name is none of ours: who is "a/b" is not to be taken for "a" with a key of "b/".
_LOGIN = "replace(replace(session_user, '%', '%25'), '/', '%2F') COLLATE \"default\" || '/'"
_SAID = {
    "claimed_by": f"{_LOGIN} || coalesce(${{place}}, pg_backend_pid()::text)",
    "claim_key": f"{_LOGIN} || ${{place}}",
}
_SETTINGS = ("search_path=pg_catalog, pg_temp",)
_RUNNER = "xclaim.runner"


@dataclass(frozen=True, slots=True, kw_only=True)
class Capability:
    """Some verbs on one queue; ``schema`` has the table."""

    name: str
    queue: str
    verbs: tuple[str, ...]
    schema: str

    @property
    def comment(self) -> str:
        """What the comment of its schema says, by which it is known again."""
        said = {"queue": self.queue, "verbs": self.verbs, "schema": self.schema}
        return MARK + json.dumps(said, ensure_ascii=False)

    @property
    def parts(self) -> list[str]:
        """What its roles are for."""
        return list(dict.fromkeys(str(PARTS[verb]) for verb in self.verbs))


def of_comment(name: str, comment: str | None) -> Capability | None:
    """Return the capability whose schema has this comment, None if it is none of ours."""
    if comment is None or not comment.startswith(MARK):
        return None
    try:
        said = json.loads(comment.removeprefix(MARK))
        verbs = tuple(verb for verb in said["verbs"] if verb in PARTS)
        return Capability(
            name=name, queue=str(said["queue"]), verbs=verbs, schema=str(said["schema"])
        )
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def role_of(name: str, part: str, database: str) -> str:
    """Return the name of a role of a capability: roles are for all databases of a server."""
    readable = f"{name}_{part}_in_{database}"
    if len(readable.encode()) <= MAX_IDENTIFIER_BYTES:
        return readable
    return f"xclaim_{part}_{sha256(readable.encode()).hexdigest()[:40]}"


def is_role_of(role: str, name: str, part: str) -> bool:
    """Return whether a capability has a role of this name in a database of some name."""
    is_hashed = re.fullmatch(rf"xclaim_{part}_[0-9a-f]{{40}}", role) is not None
    return is_hashed or role.startswith(f"{name}_{part}_in_")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wrapper:
    """What a function of a capability is to be."""

    verb: str
    owner: str
    argument_names: tuple[str, ...]
    argument_types: tuple[str, ...]
    argument_defaults: tuple[str | None, ...]
    result: str
    volatility: str
    body: str

    @property
    def types(self) -> str:
        """What it takes, as its name is told from others of that name."""
        return ", ".join(self.argument_types)

    def can_replace(self, made: Made) -> bool:
        """Return whether PostgreSQL lets this be made in the place of what is there."""
        return (made.owner, made.types, made.result, made.argument_names) == (
            self.owner,
            self.types,
            self.result,
            self.argument_names,
        )

    def differences(self, made: Made) -> Iterator[str]:
        """Yield what of the function that is there is not as it is to be."""
        of_each = {
            "owner": (made.owner, self.owner),
            "rights (SECURITY DEFINER)": (made.is_definer, True),
            "settings": (made.settings, _SETTINGS),
            "result": (made.result, self.result),
            "arguments": (
                (made.types, made.argument_names, made.argument_defaults),
                (self.types, self.argument_names, self.argument_defaults),
            ),
            "language": (made.language, "plpgsql"),
            "volatility": (made.volatility, self.volatility),
            "body": (made.body, self.body),
        }
        yield from (name for name, (found, wanted) in of_each.items() if found != wanted)


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What a database has before a capability is made, changed or dropped."""

    database: str
    schema: str  # of the table, and who owns that
    owner: str
    schema_owner: str | None  # of the schema of that name
    comment: str | None
    is_schema: bool
    roles: Mapping[str, Facts]  # of the capability, by what they are for: with those that are not
    grantees: Mapping[str, bool]  # who is to execute the functions: is it there?
    verbs: Mapping[str, Made]  # functions around which wrappers are made, by their verbs
    is_secured: bool  # row-level security is on for the table
    wrappers: tuple[Made, ...]  # what the schema of the capability has
    former: Mapping[str, Facts]  # by their names, its roles of when the database had another one


def wrapper(capability: Capability, verb: str, of: Made, database: str) -> Wrapper:
    """Return what the function of a verb is in a capability: the same without the queue."""
    fixed = {"queue": f"{text_literal(capability.queue)}::text", "to_queue": "NULL::text"}
    taken = [place for place, name in enumerate(of.argument_names) if name not in fixed]
    names = [of.argument_names[place] for place in taken]
    # All that it takes, each of its type: no function of the same name fits as well, or better.
    said = fixed | {
        name: _SAID.get(name, "${place}").format(place=place) for place, name in enumerate(names, 1)
    }
    # By their places: by their names a function that takes them in another order would fit as well.
    given = [said[name] for name in of.argument_names]
    call = f"{quoted(capability.schema)}.{function(verb)}({', '.join(given)})"
    if of.result == "void":
        does = f"PERFORM {call}"
    elif of.result.startswith(("TABLE(", "SETOF ")):
        does = f"RETURN QUERY SELECT * FROM {call}"  # noqa: S608  (quoted)
    else:
        does = f"RETURN {call}"
    return Wrapper(
        verb=verb,
        owner=role_of(capability.name, PARTS[verb], database),
        argument_names=tuple(names),
        argument_types=tuple(of.argument_types[place] for place in taken),
        argument_defaults=tuple(of.argument_defaults[place] for place in taken),
        result=of.result,
        volatility=of.volatility,
        body=f"\nBEGIN\n    {does};\nEND\n",
    )


def making(capability: Capability, found: Surroundings) -> list[str]:
    """Return the statements that make a capability, or make it what it is to be now.

    To be run in one transaction by the owner of the table, who may create roles, and schemas in the
    database. He becomes a member of each role for as long as it takes to make its functions.
    """
    schema = quoted(capability.name)
    wrappers = [
        wrapper(capability, verb, found.verbs[verb], found.database) for verb in capability.verbs
    ]
    kept = {each.verb: each for each in wrappers}
    statements = [*PREPARING, _remember_runner()]
    for part in capability.parts:
        role = role_of(capability.name, part, found.database)
        if not found.roles[part].is_role:
            statements.append(f"CREATE ROLE {quoted(role)} NOLOGIN NOINHERIT")
        statements += narrowing(grant_of(part, role, capability.queue), found.roles[part])
    statements += [
        f"CREATE ROLE {quoted(role)} NOLOGIN"
        for role, is_role in found.grantees.items()
        if not is_role
    ]
    if not found.is_schema:
        statements.append(f"CREATE SCHEMA {schema} AUTHORIZATION {quoted(found.owner)}")
    statements.append(f"REVOKE ALL ON SCHEMA {schema} FROM PUBLIC")
    statements.append(f"COMMENT ON SCHEMA {schema} IS {text_literal(capability.comment)}")
    dropped = [
        made
        for made in found.wrappers
        if made.name in PARTS and (made.name not in kept or not kept[made.name].can_replace(made))
    ]
    statements += _dropping(capability.name, dropped)
    for part in capability.parts:
        role = role_of(capability.name, part, found.database)
        defined = [
            statement
            for each in wrappers
            if PARTS[each.verb] == part
            for statement in _defining(capability.name, each, found)
        ]
        statements += _as_role(role, schema, defined)
    statements += _handing_out(capability, wrappers, dropped, found)
    return [*statements, *_parting(capability.name, found, spared=capability.parts)]


def dropping(name: str, found: Surroundings) -> list[str]:
    """Return the statements that take a capability away, with its roles."""
    return [
        *PREPARING,
        *_dropping(name, [made for made in found.wrappers if made.name in PARTS]),
        f"DROP SCHEMA {quoted(name)}",
        *_parting(name, found),
    ]


def _dropping(name: str, functions: Iterable[Made]) -> list[str]:
    return [f"DROP FUNCTION {_signature(name, each.name, each.types)}" for each in functions]


def grant_of(part: str, role: str, queue: str) -> Grant:
    """Return what a role of a capability is granted."""
    is_reader = part == "reader"
    return Grant(kind=_KINDS[part], role=role, queues=(queue,), shows_payloads=is_reader)


def _parting(name: str, found: Surroundings, spared: Iterable[str] = ()) -> Iterator[str]:
    for part, facts in found.roles.items():
        if facts.is_role and part not in spared:
            yield from parting(role_of(name, part, found.database), facts)
    for role, facts in found.former.items():
        *taking, drop = parting(role, facts)
        yield from taking
        # A copy of a database has the roles of the one it was made of, which still needs them.
        needed = "dependent_objects_still_exist OR insufficient_privilege"
        yield _do(f"{drop}; EXCEPTION WHEN {needed} THEN NULL")


def _as_role(role: str, schema: str, statements: list[str]) -> list[str]:
    # Not ALTER FUNCTION ... OWNER TO, after which who is no superuser could not grant any more.
    return [
        f"GRANT USAGE, CREATE ON SCHEMA {schema} TO {quoted(role)}",
        f"GRANT {quoted(role)} TO CURRENT_USER",
        f"SET LOCAL ROLE {quoted(role)}",
        *statements,
        _become_runner(),
        f"REVOKE {quoted(role)} FROM CURRENT_USER",
        f"REVOKE ALL ON SCHEMA {schema} FROM {quoted(role)}",
    ]


def _remember_runner() -> str:
    # Not RESET ROLE in the end: who runs this may have taken the role of the owner himself.
    return _do(f"PERFORM set_config('{_RUNNER}', current_user::text, true)")


def _become_runner() -> str:
    return _do(f"PERFORM set_config('role', current_setting('{_RUNNER}'), true)")


def _do(statement: str) -> str:
    return f"DO {text_literal(f'BEGIN {statement}; END')}"


def _defining(schema: str, each: Wrapper, found: Surroundings) -> Iterator[str]:
    arguments = zip(each.argument_names, each.argument_types, each.argument_defaults, strict=True)
    takes = ", ".join(
        f"{quoted(name)} {type_}" + ("" if default is None else f" DEFAULT {default}")
        for name, type_, default in arguments
    )
    name = f"{quoted(schema)}.{quoted(each.verb)}"
    signature = _signature(schema, each.verb, each.types)
    volatility = {"v": "VOLATILE", "s": "STABLE"}[each.volatility]
    settings = " ".join(f"SET {setting.replace('=', ' = ', 1)}" for setting in _SETTINGS)
    yield (
        f"CREATE OR REPLACE FUNCTION {name}({takes}) RETURNS {each.result} LANGUAGE plpgsql"
        f" {volatility} SECURITY DEFINER {settings} AS {text_literal(each.body)}"
    )
    yield f"REVOKE ALL ON FUNCTION {signature} FROM PUBLIC"
    yield f"GRANT EXECUTE ON FUNCTION {signature} TO {quoted(found.owner)} WITH GRANT OPTION"


def _handing_out(
    capability: Capability, wrappers: list[Wrapper], dropped: list[Made], found: Surroundings
) -> list[str]:
    """Return who gets the functions, from the owner of the table, so that he can take them back.

    Who had one that is made anew keeps it, but for who was given it by the owner of another one.
    """
    before = {
        made.name: made.grantees
        for made in dropped
        if made.owner in found.former
        or made.owner in (found.owner, role_of(capability.name, PARTS[made.name], found.database))
    }
    schema = quoted(capability.name)
    roles = dict.fromkeys([found.owner, *found.grantees])
    statements = [f"GRANT USAGE ON SCHEMA {schema} TO {quoted(role)}" for role in roles]
    for each in wrappers:
        signature = _signature(capability.name, each.verb, each.types)
        statements.append(f"REVOKE ALL ON FUNCTION {signature} FROM PUBLIC")
        statements += [
            f"GRANT EXECUTE ON FUNCTION {signature} TO {quoted(role)}"
            for role in dict.fromkeys([*before.get(each.verb, ()), *found.grantees])
            if role != found.owner
        ]
    return [f"SET LOCAL ROLE {quoted(found.owner)}", *statements, _become_runner()]


def _signature(schema: str, name: str, types: str) -> str:
    return f"{quoted(schema)}.{quoted(name)}({types})"
