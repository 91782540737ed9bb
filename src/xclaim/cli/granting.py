"""The command grants: who may do what, in PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import click

from xclaim.cli.database import Database, database_options
from xclaim.cli.lines import write
from xclaim.cli.outcomes import emit

if TYPE_CHECKING:
    from sqlalchemy import Connection


class _Planned(Protocol):
    """What can be printed or run."""

    @property
    def script(self) -> str: ...

    def apply(self, connection: Connection) -> dict[str, Any]: ...


_Planning = Callable[..., _Planned]


@click.command()
@click.argument("kind")
@click.argument("role")
@click.option("--queue", "queues", multiple=True, help="Only this queue; repeatable.")
@click.option("--payloads", is_flag=True, help="Also to an observer or maintainer.")
@click.option("--verbs", help="Of a capability: claim,ack and the like.")
@click.option("--to", "callers", multiple=True, help="Who may call a capability; repeatable.")
@click.option("--drop", "is_dropped", is_flag=True, help="Take a whole capability away.")
@click.option("--apply", "is_applied", is_flag=True, help="Run the SQL instead of printing it.")
@database_options
def grants(
    *,
    kind: str,
    role: str,
    queues: tuple[str, ...],
    payloads: bool,
    verbs: str | None,
    callers: tuple[str, ...],
    is_dropped: bool,
    is_applied: bool,
    database: Database,
) -> None:
    """Print the SQL that makes ROLE a producer, consumer, observer or maintainer.

    And nothing else: what it had on the table before is revoked. A missing role is created. A
    producer pushes; a consumer claims and settles; an observer counts, and sees no payloads; a
    maintainer expires, redrives, prunes and withdraws.

    `grants capability NAME --queue orders --verbs claim,ack --to ROLE` prints the SQL that makes
    the functions NAME.claim() and NAME.ack(). Who may call one of them may do just that in this
    queue, and needs no other right.
    """
    is_capability = kind == "capability"
    if not is_capability and (verbs is not None or callers or is_dropped):
        raise click.UsageError("--verbs, --to and --drop are for a capability")
    if is_capability and payloads:
        raise click.UsageError("--payloads is for an observer or maintainer")
    if is_dropped and (verbs is not None or callers or queues):
        raise click.UsageError(
            "--drop takes away the whole capability: no --queue, --verbs, --to. For fewer verbs "
            "name those that stay, without --drop"
        )
    planning: _Planning
    if is_capability and is_dropped:
        planning = partial(_drop, role)
    elif is_capability:
        planning = partial(_capability, role, _queue(queues), _verbs(verbs), callers)
    else:
        planning = partial(_grant, kind, role, queues, payloads=payloads)
    with database.engine() as engine, engine.begin() as connection:
        planned = planning(connection=connection, schema=database.schema)
        if not is_applied:
            emit(planned.script.encode())
            return
        done = planned.apply(connection)
    write(done)


def _queue(queues: Sequence[str]) -> str:
    if len(queues) != 1:
        raise click.UsageError("a capability is for one --queue")
    return queues[0]


def _verbs(verbs: str | None) -> list[str]:
    return [verb.strip() for verb in (verbs or "").split(",") if verb.strip()]


def _grant(kind: str, role: str, queues: Sequence[str], **options: Any) -> _Planned:
    from xclaim.operations.grants import plan

    return plan(kind=kind, role=role, queues=queues, **options)


def _capability(
    name: str, queue: str, verbs: Sequence[str], callers: Sequence[str], **options: Any
) -> _Planned:
    from xclaim.operations.capabilities import plan

    return plan(name=name, queue=queue, verbs=verbs, to=callers, **options)


def _drop(name: str, **options: Any) -> _Planned:
    from xclaim.operations.capabilities import plan_drop

    return plan_drop(name=name, **options)


COMMANDS = (grants,)
