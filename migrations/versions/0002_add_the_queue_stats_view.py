"""Add the queue stats view.

Revision ID: 0002
Revises: 0001
Create Date: 2026-11-20
"""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

# A dead-letter queue is counted with the queue its letters were dropped from.
POSTGRESQL = """
CREATE VIEW {prefix}xclaim_queue_stats AS
SELECT queue,
       count(*) FILTER (WHERE NOT is_dead AND status = 'available' AND is_due) AS available,
       count(*) FILTER (WHERE NOT is_dead AND status = 'available' AND NOT is_due) AS delayed,
       count(*) FILTER (WHERE status = 'claimed') AS claimed,
       count(*) FILTER (WHERE status = 'consumed') AS consumed,
       count(*) FILTER (WHERE is_dead AND status = 'available') AS dead_letters,
       statement_timestamp()
         - min(available_at) FILTER (WHERE NOT is_dead AND status = 'available' AND is_due)
         AS oldest_available_age,
       statement_timestamp() - min(claimed_at) FILTER (WHERE status = 'claimed')
         AS oldest_claim_age
  FROM (SELECT CASE WHEN queue LIKE '%%.dead' THEN left(queue, -5) ELSE queue END AS queue,
               queue LIKE '%%.dead' AS is_dead,
               available_at <= statement_timestamp() AS is_due,
               status, available_at, claimed_at
          FROM {prefix}xclaim_message) AS message
 GROUP BY queue
"""

SQLITE = """
CREATE VIEW xclaim_queue_stats AS
SELECT queue,
       count(*) FILTER (WHERE NOT is_dead AND status = 'available' AND is_due) AS available,
       count(*) FILTER (WHERE NOT is_dead AND status = 'available' AND NOT is_due) AS delayed,
       count(*) FILTER (WHERE status = 'claimed') AS claimed,
       count(*) FILTER (WHERE status = 'consumed') AS consumed,
       count(*) FILTER (WHERE is_dead AND status = 'available') AS dead_letters,
       round((julianday('now')
         - julianday(min(available_at) FILTER
             (WHERE NOT is_dead AND status = 'available' AND is_due))) * 86400, 3)
         AS oldest_available_age,
       round((julianday('now')
         - julianday(min(claimed_at) FILTER (WHERE status = 'claimed'))) * 86400, 3)
         AS oldest_claim_age
  FROM (SELECT CASE WHEN substr(queue, -5) = '.dead'
                    THEN substr(queue, 1, length(queue) - 5) ELSE queue END AS queue,
               substr(queue, -5) = '.dead' AS is_dead,
               available_at <= strftime('%Y-%m-%d %H:%M:%f', 'now') AS is_due,
               status, available_at, claimed_at
          FROM xclaim_message) AS message
 GROUP BY queue
"""


def upgrade(schema: str | None = None) -> None:
    """Create the view in the database's own SQL; ages are intervals, on SQLite seconds."""
    connection = op.get_bind()
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(POSTGRESQL.format(prefix=_prefix(schema)))
    else:
        connection.exec_driver_sql(SQLITE)


def downgrade(schema: str | None = None) -> None:
    """Drop the view."""
    op.get_bind().exec_driver_sql(f"DROP VIEW {_prefix(schema)}xclaim_queue_stats")


def _prefix(schema: str | None) -> str:
    if schema is None:
        return ""
    quoted = op.get_bind().dialect.identifier_preparer.quote_identifier(schema)
    return f"{quoted}."
