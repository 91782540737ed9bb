"""What a scheduler loads once, so that the tasks its LocalExecutor forks need not.

Half of what an exclusive task took beyond an empty one was importing psycopg and xclaim, building
the statements and compiling them: 0.2 s of a core for each task.
"""

from __future__ import annotations


def preload() -> None:
    """Import what a task uses, and make the statements of a claim and an ack for PostgreSQL."""
    import psycopg  # noqa: F401
    from airflow.sdk import lineage  # noqa: F401

    from xclaim import verbs
    from xclaim.airflow import connections, hooks  # noqa: F401
    from xclaim.connections.direct import compile_for_postgresql
    from xclaim.queues import sync  # noqa: F401
    from xclaim.sql import statements
    from xclaim.sql.dialects import POSTGRESQL
    from xclaim.sql.schema import message_table
    from xclaim.sql.statements import Start

    table = message_table(verbs.resolve_schema(None, POSTGRESQL.name))
    claims = [
        statements.claim(table, POSTGRESQL, limit=1, start=start, resumes=True) for start in Start
    ]
    others = [
        statements.expire(table, POSTGRESQL),
        statements.expire_others(table, POSTGRESQL),
        statements.ack_many(table, POSTGRESQL),
        statements.push_once(table, POSTGRESQL, notifies=False),
    ]
    compile_for_postgresql([*claims, *others])
