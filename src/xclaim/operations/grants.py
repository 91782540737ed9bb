"""Grant a PostgreSQL role what a producer, consumer, observer or maintainer needs, and no more."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from xclaim import arguments
from xclaim.connections.direct import run
from xclaim.connections.encodings import check_names
from xclaim.errors import InvalidArgumentError
from xclaim.sql.dialects import SQLITE
from xclaim.sql.revision import mismatch, needs_upgrade, read_revision
from xclaim.sql.statements import diagnosing
from xclaim.sql.statements.granted import Facts, Grant, Kind, comment, facts, facts_of
from xclaim.sql.statements.granting import granting, is_limited, shown_views
from xclaim.verbs import schema_on

__all__ = ["Kind", "Plan", "plan"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a role is to be granted, and what its database has: the statements follow from both."""

    grant: Grant
    facts: Facts
    open_places: tuple[str, ...] = ()  # where others may create what the search path finds

    @property
    def statements(self) -> list[str]:
        """The statements in their order, for one transaction."""
        return granting(self.grant, self.facts)

    @property
    def remarks(self) -> list[str]:
        """What the one who runs them should know."""
        grant, found = self.grant, self.facts
        remarks = []
        if found.wider:
            remarks.append(f"The role has more than this, by {', '.join(found.wider)}.")
        if is_limited(grant) and found.without_policy:
            remarks.append(
                "These roles have rights on the table and no policy: they see no message any "
                f"more. Run `xclaim grants` for each: {', '.join(found.without_policy)}"
            )
        elif is_limited(grant):
            remarks.append(
                "A role that is granted rights on the table by hand sees no message without a "
                "policy of its own."
            )
        if grant.queues and grant.kind is Kind.OBSERVER and not shown_views(grant, found):
            remarks.append(
                "No views: here they would show all queues, because they have their owner's "
                "rights. From PostgreSQL 15 on, ALTER VIEW ... SET (security_invoker = true)."
            )
        if self.open_places:
            remarks.append(
                "Others may create objects where the search path looks, and a table of our name "
                "that is found first would be taken for ours: REVOKE CREATE there, see `xclaim "
                f"doctor`: {', '.join(self.open_places)}"
            )
        return remarks

    @property
    def script(self) -> str:
        """The statements as SQL for a person to read and run, with the remarks as comments."""
        where = f"to queue {', '.join(self.grant.queues)}" if self.grant.queues else "to all queues"
        title = f"The role {self.grant.role} as {self.grant.kind}, {where}."
        return script([title, *self.remarks], self.statements)

    def apply(self, connection: Connection) -> dict[str, Any]:
        """Run the statements in the transaction of the connection; return what was done."""
        run_all(connection, self.statements)
        return {
            "role": self.grant.role,
            "kind": str(self.grant.kind),
            "queues": list(self.grant.queues) or None,
            "payloads": self.grant.shows_payloads,
            "created": not self.facts.is_role,
            "without_policy": list(self.facts.without_policy) if is_limited(self.grant) else [],
            "wider": list(self.facts.wider),
        }


def script(remarks: Iterable[str], statements: Iterable[str]) -> str:
    """Return the statements as SQL for a person to read and run, in one transaction."""
    lines = [comment(remark) for remark in remarks]
    body = [f"{statement};" for statement in ("BEGIN", *statements, "COMMIT")]
    return "\n".join([*lines, *body])


def run_all(connection: Connection, statements: Iterable[str]) -> None:
    """Run statements that set the search path, and set it to what it was."""
    # Not with an empty list of parameters: the driver would look for percent signs.
    # And not as an option of the connection, which its owner goes on with.
    literally = {"no_parameters": True}
    (before,) = run(connection, diagnosing.search_path(), {})
    for statement in statements:
        connection.exec_driver_sql(statement, execution_options=literally)
    run(connection, diagnosing.set_search_path(), before._asdict())


def plan(
    connection: Connection,
    kind: str,
    role: str,
    *,
    queues: Iterable[str] = (),
    payloads: bool = False,
    schema: str | None = None,
) -> Plan:
    """Return how ``role`` becomes a producer, consumer, observer or maintainer, and nothing else.

    Nothing is changed before ``Plan.apply``. With ``queues`` it is limited to them by row-level
    security. ``payloads``: an observer or maintainer may read payloads, headers and errors. Raise
    InvalidArgumentError for a name that cannot be, for a role that may do everything anyway, for
    one whose policies another role has, which was renamed, and on SQLite, which has no roles;
    SchemaVersionError if the schema is missing or older.
    """
    grant = _checked(kind, role, queues, shows_payloads=payloads)
    check_names(connection, role=role, queues=" ".join(grant.queues))
    resolved = schema_with_roles(connection, schema)
    return plan_of(connection, grant, resolved)


def plan_of(connection: Connection, grant: Grant, schema: str | None) -> Plan:
    """Return how a role is left with what is granted, in a schema that ``schema_with_roles`` has.

    Raise InvalidArgumentError if the role may do everything anyway, or another has its policies.
    """
    found = read_facts(connection, schema, grant.role)
    _refuse_powerful(grant, found)
    _refuse_taken(grant, found)
    places = run(connection, diagnosing.open_path(), {})
    return Plan(
        grant=grant,
        facts=found,
        open_places=tuple(f"the {each.kind.lower()} {each.name}" for each in places),
    )


def schema_with_roles(connection: Connection, schema: str | None) -> str | None:
    """Return the schema to use, of a database that has roles, at a revision that has all we grant.

    Raise InvalidArgumentError on SQLite, SchemaVersionError if the schema is missing or older.
    """
    if connection.dialect.name == SQLITE.name:
        raise InvalidArgumentError(
            "SQLite has no roles: who may write the file may do everything, so use the rights of "
            "the file and its folder"
        )
    resolved = schema_on(connection, schema)
    _check_revision(connection, resolved)
    return resolved


def read_facts(connection: Connection, schema: str | None, role: str) -> Facts:
    """Return what the database has of the role, and of the table."""
    rows = run(connection, facts(schema, role), {})
    if not rows:
        raise mismatch(None, schema, connection)
    return facts_of(rows[0])


def _checked(kind: str, role: str, queues: Iterable[str], *, shows_payloads: bool) -> Grant:
    if kind not in list(Kind):
        raise InvalidArgumentError(f"kind {kind!r} is unknown: use {', '.join(Kind)}")
    if isinstance(queues, str):
        raise InvalidArgumentError(f"queues must be a list, not text: pass [{queues!r}]")
    chosen = Kind(kind)
    if shows_payloads and chosen in (Kind.PRODUCER, Kind.CONSUMER):
        raise InvalidArgumentError(f"payloads is for observers and maintainers: a {kind} has them")
    names = [arguments.queue_name(queue) for queue in queues]
    if chosen is Kind.PRODUCER:
        names = [arguments.pushable(name) for name in names]
    return Grant(
        kind=chosen,
        role=arguments.role_name(role),
        queues=tuple(dict.fromkeys(names)),
        shows_payloads=shows_payloads,
    )


def _check_revision(connection: Connection, schema: str | None) -> None:
    found = read_revision(connection, schema)
    if needs_upgrade(found):
        raise mismatch(found, schema, connection)


def _refuse_powerful(grant: Grant, found: Facts) -> None:
    if found.is_owner:
        raise InvalidArgumentError(
            f"role {grant.role!r} owns the table, belongs to its owner or is a superuser, and may "
            "do everything: choose a role that is not"
        )
    if is_limited(grant) and found.bypasses_policies:
        raise InvalidArgumentError(
            f"role {grant.role!r} has BYPASSRLS, and nothing that row-level security limits would "
            "hold for it: choose a role that has not"
        )


def _refuse_taken(grant: Grant, found: Facts) -> None:
    if found.taken:
        raise InvalidArgumentError(
            f"the policies {', '.join(found.taken)} are for {', '.join(found.taken_by)}, which had "
            f"the name {grant.role!r}: run `xclaim grants` for that role first, and it gets "
            "policies of its own name, or drop them"
        )
