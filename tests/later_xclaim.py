"""A later xclaim, whose schema has one revision more than ours.

Its revision shows what one that adds a column has to do: the rights of roles are by column, and the
overview is a view that must go on to heed its reader.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from xclaim.operations import doctor, migrate
from xclaim.sql import revision
from xclaim.sql.schema import REVISIONS

LATER = "0002"
HEADER = '''
"""Let a message name its reply queue.

Revision ID: 0002
Revises: 0001
Create Date: 2026-11-26
"""

import sqlalchemy as sa
from alembic.operations import Operations

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None
'''
REPLY_QUEUE = (
    HEADER
    + '''
OVERVIEW = """
SELECT id, queue, origin_queue, status, priority, unique_key, attempts, max_attempts, created_at,
       available_at, claimed_at, claim_expires_at, consumed_at, claimed_by, consumed_by, claim_key,
       last_error_class, codec, ordering_key, due_at, keeps_turn, awaited_ids{more}
  FROM {table}
"""
# Whoever may read queues may read this one; whoever may push payloads may say it.
RIGHTS = """
SELECT DISTINCT rolname AS role, privilege_type
  FROM pg_attribute
 CROSS JOIN LATERAL aclexplode(attacl) AS acl
  JOIN pg_roles ON pg_roles.oid = acl.grantee
 WHERE attrelid = to_regclass(CAST(:name AS text))
   AND (attname, privilege_type) IN (('queue', 'SELECT'), ('payload', 'INSERT'))
"""


def upgrade(op: Operations, schema: str | None = None) -> None:
    op.add_column("xclaim_message", sa.Column("reply_queue", sa.Text), schema=schema)
    replace_overview(op, schema, ", reply_queue")
    if op.get_bind().dialect.name == "postgresql":
        grant(op, qualified(op, "xclaim_message", schema))


def downgrade(op: Operations, schema: str | None = None) -> None:
    run(op, f"DROP VIEW {qualified(op, 'xclaim_overview', schema)}")
    op.drop_column("xclaim_message", "reply_queue", schema=schema)
    replace_overview(op, schema, "")


def replace_overview(op: Operations, schema: str | None, more: str) -> None:
    view = qualified(op, "xclaim_overview", schema)
    query = OVERVIEW.format(table=qualified(op, "xclaim_message", schema), more=more)
    if op.get_bind().dialect.name == "postgresql":
        # Replaced, not dropped, it keeps the rights on it.
        run(op, f"CREATE OR REPLACE VIEW {view} WITH (security_invoker = true) AS {query}")
    else:
        run(op, f"DROP VIEW IF EXISTS {view}")
        run(op, f"CREATE VIEW {view} AS {query}")


def grant(op: Operations, table: str) -> None:
    name = table.replace("%%", "%")  # quoted for a driver that takes a single one for itself
    quote = op.get_bind().dialect.identifier_preparer.quote_identifier
    for row in op.get_bind().execute(sa.text(RIGHTS), {"name": name}).all():
        run(op, f"GRANT {row.privilege_type} (reply_queue) ON {table} TO {quote(row.role)}")


def run(op: Operations, statement: str) -> None:
    op.get_bind().exec_driver_sql(statement)


def qualified(op: Operations, name: str, schema: str | None) -> str:
    if schema is None:
        return name
    return f"{op.get_bind().dialect.identifier_preparer.quote_identifier(schema)}.{name}"
'''
)
FAILING = (
    HEADER
    + """

def upgrade(op: Operations, schema: str | None = None) -> None:
    op.add_column("xclaim_message", sa.Column("reply_queue", sa.Text), schema=schema)
    op.create_table("xclaim_reply", sa.Column("id", sa.Integer, primary_key=True), schema=schema)
    raise LookupError("of the revision")
"""
)


@contextmanager
def later_xclaim(folder: Path, revision_text: str = REPLY_QUEUE) -> Iterator[None]:
    """Let the migrations be those of a later xclaim within the block."""
    migrations = folder / "later"
    if not migrations.exists():
        shutil.copytree(migrate.script_location(), migrations)
    (migrations / "versions" / "0002_let_a_message_name_its_reply_queue.py").write_text(
        revision_text
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(migrate, "script_location", lambda: migrations)
        patch.setattr(revision, "REVISIONS", (*REVISIONS, LATER))
        for module in (revision, migrate, doctor):
            patch.setattr(module, "REVISION", LATER)
        yield
