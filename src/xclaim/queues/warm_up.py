"""What a process can load once so that those it forks need not: modules, and compiled statements.

Importing psycopg and xclaim, building the statements of a claim and an ack and compiling them takes
0.2 s of a core, in each process that does it.
"""

from __future__ import annotations

from typing import Any


def warm_up() -> None:
    """Import what a verb uses, and compile the statements that most work takes, for PostgreSQL.

    Raise ImportError where psycopg is not installed.
    """
    import psycopg  # noqa: F401

    from xclaim import verbs
    from xclaim.connections.direct import compile_for_postgresql
    from xclaim.queues import sync  # noqa: F401
    from xclaim.sql import statements
    from xclaim.sql.dialects import POSTGRESQL
    from xclaim.sql.schema import message_table
    from xclaim.sql.statements import Start
    from xclaim.verbs.ordering import MAY_PASS_OWED

    table = message_table(verbs.resolve_schema(None, POSTGRESQL.name))
    claims = [
        statements.claim(table, POSTGRESQL, limit=1, start=start, resumes=True, whole_lines=False)
        for start in Start
    ]
    others: list[Any] = [
        statements.any_lapsed(table, POSTGRESQL),
        statements.expire(table, POSTGRESQL),
        statements.expire_others(table, POSTGRESQL),
        statements.ack(table, POSTGRESQL),
        statements.ack_many(table, POSTGRESQL),
        statements.limits(table, POSTGRESQL),
        statements.push_once(
            table,
            POSTGRESQL,
            notifies=False,
            encoded=False,
            whole=False,
            ordered=False,
            guarded=True,  # as the first push of a process is
        ),
    ]
    compile_for_postgresql([*claims, *others, MAY_PASS_OWED])
