"""Add the codec column, which says how a payload is encoded.

Revision ID: 0005
Revises: 0004
Create Date: 2026-11-21
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

BEFORE = """
SELECT id, queue, origin_queue, status, priority, unique_key, attempts, max_attempts, created_at,
       available_at, claimed_at, claim_expires_at, consumed_at, claimed_by, consumed_by, claim_key
"""

# Whoever may read ids may read how payloads are encoded; whoever may push payloads must say it.
RIGHTS = """
SELECT DISTINCT rolname AS role, privilege_type
  FROM pg_attribute
 CROSS JOIN LATERAL aclexplode(attacl) AS acl
  LEFT JOIN pg_roles ON pg_roles.oid = acl.grantee
 WHERE attrelid = to_regclass(CAST(:name AS text))
   AND (attname, privilege_type) IN (('id', 'SELECT'), ('payload', 'INSERT'))
   AND (acl.grantee = 0 OR rolname IS NOT NULL)
 ORDER BY 1, 2
"""


def upgrade(schema: str | None = None) -> None:
    """Add the column: NULL, which is plain JSON, in every row there is; no row is rewritten.

    The overview gets it as its last column, which PostgreSQL adds without dropping the view and
    the rights on it.
    """
    op.add_column("xclaim_message", sa.Column("codec", sa.Text), schema=schema)
    prefix = _prefix(schema)
    overview = f"VIEW {prefix}xclaim_overview"
    query = f"{BEFORE.rstrip()}, codec\n  FROM {prefix}xclaim_message"
    if _is_sqlite():
        _run(f"DROP {overview}")
        _run(f"CREATE {overview} AS{query}")
    else:
        invoker = "WITH (security_invoker = true) " if _has_invokers() else ""
        _run(f"CREATE OR REPLACE {overview} {invoker}AS{query}")
        _grant_to_those_who_had_rights(f"{prefix}xclaim_message")


def downgrade(schema: str | None = None) -> None:
    """Drop the column, unless that would make encoded payloads look like plain ones."""
    prefix = _prefix(schema)
    query = f"SELECT count(*) FROM {prefix}xclaim_message WHERE codec IS NOT NULL"  # noqa: S608
    encoded = op.get_bind().exec_driver_sql(query).scalar_one()
    if encoded:
        raise RuntimeError(
            f"{encoded} messages have encoded payloads, which revision 0004 cannot read: consume "
            "and prune them first"
        )
    overview = f"VIEW {prefix}xclaim_overview"
    _run(f"DROP {overview}")
    op.drop_column("xclaim_message", "codec", schema=schema)
    invoker = " WITH (security_invoker = true)" if _has_invokers() else ""
    _run(f"CREATE {overview}{invoker} AS{BEFORE}  FROM {prefix}xclaim_message")


def _grant_to_those_who_had_rights(table: str) -> None:
    # Rights are by column: who reads and pushes messages would be refused this one from now on.
    quote = op.get_bind().dialect.identifier_preparer.quote_identifier
    query = sa.text(RIGHTS)
    for row in op.get_bind().execute(query, {"name": table.replace("%%", "%")}).all():
        role = "PUBLIC" if row.role is None else quote(row.role)
        _run(f"GRANT {row.privilege_type} (codec) ON {table} TO {role}")


def _run(statement: str) -> None:
    # Not op.execute, which takes a colon in the name of a schema for a parameter.
    op.get_bind().exec_driver_sql(statement)


def _is_sqlite() -> bool:
    return op.get_bind().dialect.name == "sqlite"


def _has_invokers() -> bool:
    dialect = op.get_bind().dialect
    return dialect.name == "postgresql" and (dialect.server_version_info or ()) >= (15,)


def _prefix(schema: str | None) -> str:
    if schema is None:
        return ""
    quoted = op.get_bind().dialect.identifier_preparer.quote_identifier(schema)
    return f"{quoted}."
