"""Create the message table.

Revision ID: 0001
Revises:
Create Date: 2026-11-20
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


# A queue rewrites each row two or three times: vacuum by count rather than by a fifth of the table.
AUTOVACUUM = """
    autovacuum_vacuum_threshold = 1000,
    autovacuum_vacuum_scale_factor = 0.01,
    autovacuum_analyze_threshold = 1000,
    autovacuum_analyze_scale_factor = 0.02,
    autovacuum_vacuum_insert_scale_factor = 0.05,
    autovacuum_vacuum_cost_limit = 2000
"""


def upgrade(schema: str | None = None) -> None:
    """Create the table with its checks and its partial indexes."""
    integer = sa.BigInteger().with_variant(sa.Integer, "sqlite")
    json = postgresql.JSONB().with_variant(sa.Text(), "sqlite")
    timestamp = sa.DateTime(timezone=True).with_variant(sa.Text(), "sqlite")
    op.create_table(
        "xclaim_message",
        sa.Column("id", integer, sa.Identity(always=True), primary_key=True),
        sa.Column("queue", sa.Text, nullable=False),
        sa.Column("origin_queue", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False, server_default=sa.text("'available'")),
        sa.Column("priority", sa.SmallInteger, nullable=False, server_default=sa.text("0")),
        sa.Column("payload", json, nullable=False),
        sa.Column("headers", json, nullable=False, server_default=sa.text("'{}'")),
        sa.Column("unique_key", sa.Text),
        sa.Column("attempts", sa.Integer, nullable=False, server_default=sa.text("0")),
        sa.Column("max_attempts", sa.Integer),
        sa.Column("created_at", timestamp, nullable=False),
        sa.Column("available_at", timestamp, nullable=False),
        sa.Column("claimed_at", timestamp),
        sa.Column("claim_expires_at", timestamp),
        sa.Column("consumed_at", timestamp),
        sa.Column("claimed_by", sa.Text),
        sa.Column("consumed_by", sa.Text),
        sa.Column("claim_key", sa.Text),
        sa.Column("claim_token", sa.Uuid),
        sa.Column("last_error", sa.Text),
        sa.CheckConstraint(
            "status IN ('available', 'claimed', 'consumed')", name="ck_xclaim_message_status"
        ),
        sa.CheckConstraint(
            "(status = 'claimed') = (claim_token IS NOT NULL)"
            " AND (status = 'claimed') = (claimed_by IS NOT NULL)"
            " AND (status = 'claimed') = (claim_expires_at IS NOT NULL)"
            " AND (status = 'claimed' OR claim_key IS NULL)"
            " AND (status = 'available') = (claimed_at IS NULL)",
            name="ck_xclaim_message_claimed",
        ),
        sa.CheckConstraint(
            "(status = 'consumed') = (consumed_at IS NOT NULL)"
            " AND (status = 'consumed') = (consumed_by IS NOT NULL)",
            name="ck_xclaim_message_consumed",
        ),
        sa.CheckConstraint(
            "attempts >= 0 AND max_attempts >= 1", name="ck_xclaim_message_attempts"
        ),
        sa.CheckConstraint("queue <> '' AND origin_queue <> ''", name="ck_xclaim_message_queue"),
        schema=schema,
        sqlite_autoincrement=True,
    )
    if op.get_bind().dialect.name == "postgresql":
        table = "xclaim_message" if schema is None else f"{_quoted(schema)}.xclaim_message"
        # Not op.execute, which takes a colon in the name of a schema for a parameter.
        op.get_bind().exec_driver_sql(f"ALTER TABLE {table} SET ({AUTOVACUUM})")
    claimable = "status = 'available' AND available_at IS NOT NULL"
    order: list[str | sa.TextClause] = ["queue", sa.text("priority DESC"), "available_at", "id"]
    _create_index("ix_xclaim_message_claim", order, claimable, schema)
    expiring = ["queue", "claim_expires_at"]
    _create_index("ix_xclaim_message_expiry", expiring, "claim_expires_at IS NOT NULL", schema)
    _create_index("ix_xclaim_message_claim_key", ["claim_key"], "claim_key IS NOT NULL", schema)
    consumed = ["queue", "consumed_at"]
    _create_index("ix_xclaim_message_consumed", consumed, "consumed_at IS NOT NULL", schema)
    _create_index(
        "uq_xclaim_message_unique_key",
        ["origin_queue", "unique_key"],
        "unique_key IS NOT NULL",
        schema,
        unique=True,
    )


def downgrade(schema: str | None = None) -> None:
    """Drop the table, and with it every message."""
    op.drop_table("xclaim_message", schema=schema)


def _create_index(
    name: str,
    columns: Sequence[str | sa.TextClause],
    condition: str,
    schema: str | None,
    *,
    unique: bool = False,
) -> None:
    op.create_index(
        name,
        "xclaim_message",
        columns,
        schema=schema,
        unique=unique,
        postgresql_where=sa.text(condition),
        sqlite_where=sa.text(condition),
    )


def _quoted(schema: str) -> str:
    return op.get_bind().dialect.identifier_preparer.quote_identifier(schema)
