"""Add the overview view, and let the views show what their reader may see.

Revision ID: 0004
Revises: 0003
Create Date: 2026-11-21
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

# All but the payload, the headers, the last error and the token: what may be confidential.
OVERVIEW = """
CREATE VIEW {prefix}xclaim_overview AS
SELECT id, queue, origin_queue, status, priority, unique_key, attempts, max_attempts, created_at,
       available_at, claimed_at, claim_expires_at, consumed_at, claimed_by, consumed_by, claim_key
  FROM {prefix}xclaim_message
"""
VIEWS = ("xclaim_queue_stats", "xclaim_lineage", "xclaim_overview")


def upgrade(schema: str | None = None) -> None:
    """Create the view.

    A view has its owner's rights: it would show every queue to a role that row-level security
    limits to one. PostgreSQL 15 and later can give it those of its reader.
    """
    connection = op.get_bind()
    prefix = _prefix(schema)
    connection.exec_driver_sql(OVERVIEW.format(prefix=prefix))
    if _has_invokers():
        for view in VIEWS:
            connection.exec_driver_sql(f"ALTER VIEW {prefix}{view} SET (security_invoker = true)")


def downgrade(schema: str | None = None) -> None:
    """Drop the view; where row-level security is in use the others go on to heed it."""
    connection = op.get_bind()
    prefix = _prefix(schema)
    connection.exec_driver_sql(f"DROP VIEW {prefix}xclaim_overview")
    if _has_invokers() and not _has_row_security(f"{prefix}xclaim_message"):
        for view in VIEWS[:-1]:
            connection.exec_driver_sql(f"ALTER VIEW {prefix}{view} RESET (security_invoker)")


def _has_invokers() -> bool:
    dialect = op.get_bind().dialect
    return dialect.name == "postgresql" and (dialect.server_version_info or ()) >= (15,)


def _has_row_security(table: str) -> bool:
    query = "SELECT relrowsecurity FROM pg_class WHERE oid = to_regclass(CAST(:name AS text))"
    name = table.replace("%%", "%")  # quoted for a driver that takes a single one for itself
    return bool(op.get_bind().scalar(sa.text(query), {"name": name}))


def _prefix(schema: str | None) -> str:
    if schema is None:
        return ""
    quoted = op.get_bind().dialect.identifier_preparer.quote_identifier(schema)
    return f"{quoted}."
