"""Add the lineage view.

Revision ID: 0003
Revises: 0002
Create Date: 2026-11-21
"""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

# A consumer in Airflow is named dag/run/task[map]#try@host. Neither dag nor task ids may contain a
# slash or a bracket, so the first slash ends the dag and the last begins the task.
POSTGRESQL = """
CREATE VIEW {prefix}xclaim_lineage AS
SELECT id, origin_queue AS queue, unique_key, payload, status, attempts,
       headers ->> 'dag_id' AS producer_dag_id,
       headers ->> 'run_id' AS producer_run_id,
       headers ->> 'task_id' AS producer_task_id,
       headers ->> 'map_index' AS producer_map_index,
       headers ->> 'try_number' AS producer_try_number,
       created_at,
       coalesce(consumed_by, claimed_by) AS consumer,
       name[1] AS consumer_dag_id,
       name[2] AS consumer_run_id,
       name[3] AS consumer_task_id,
       CASE WHEN name IS NOT NULL THEN coalesce(name[4], '-1') END AS consumer_map_index,
       name[5] AS consumer_try_number,
       claimed_at, consumed_at, last_error
  FROM {prefix}xclaim_message
  LEFT JOIN LATERAL regexp_match(
         coalesce(consumed_by, claimed_by),
         '^([^/]+)/(.*)/([^/#[]+)(?:\\[([0-9]+)\\])?#([0-9]+)@[^/@]*$') AS name ON true
"""

# The same without regular expressions: rtrim of everything but slashes leaves what is before the
# task.
SQLITE = """
CREATE VIEW xclaim_lineage AS
SELECT id, queue, unique_key, payload, status, attempts,
       producer_dag_id, producer_run_id, producer_task_id, producer_map_index, producer_try_number,
       created_at, consumer,
       CASE WHEN is_task THEN substr(path, 1, instr(path, '/') - 1) END AS consumer_dag_id,
       CASE WHEN is_task THEN substr(path, instr(path, '/') + 1,
                                     length(path) - instr(path, '/') - 1) END AS consumer_run_id,
       CASE WHEN is_task THEN CASE WHEN instr(name, '[') > 0
                                   THEN substr(name, 1, instr(name, '[') - 1)
                                   ELSE name END END AS consumer_task_id,
       CASE WHEN is_task THEN CASE WHEN instr(name, '[') > 0
                                   THEN rtrim(substr(name, instr(name, '[') + 1), ']')
                                   ELSE '-1' END END AS consumer_map_index,
       CASE WHEN is_task THEN substr(attempt, 1, instr(attempt, '@') - 1)
            END AS consumer_try_number,
       claimed_at, consumed_at, last_error
  FROM (SELECT *, substr(task, 1, instr(task, '#') - 1) AS name,
               substr(task, instr(task, '#') + 1) AS attempt,
               path LIKE '%_/%_/' AND task LIKE '_%#_%@%' AS is_task
          FROM (SELECT *, substr(consumer, length(path) + 1) AS task
                  FROM (SELECT *, rtrim(consumer, replace(consumer, '/', '')) AS path
                          FROM (SELECT id, origin_queue AS queue, unique_key, payload, status,
                                       attempts, created_at, claimed_at, consumed_at, last_error,
                                       json_extract(headers, '$.dag_id') AS producer_dag_id,
                                       json_extract(headers, '$.run_id') AS producer_run_id,
                                       json_extract(headers, '$.task_id') AS producer_task_id,
                                       CAST(json_extract(headers, '$.map_index') AS TEXT)
                                         AS producer_map_index,
                                       CAST(json_extract(headers, '$.try_number') AS TEXT)
                                         AS producer_try_number,
                                       coalesce(consumed_by, claimed_by) AS consumer
                                  FROM xclaim_message))))
"""


def upgrade(schema: str | None = None) -> None:
    """Create the view that names producer and consumer of each message."""
    connection = op.get_bind()
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(POSTGRESQL.format(prefix=_prefix(schema)))
    else:
        connection.exec_driver_sql(SQLITE)


def downgrade(schema: str | None = None) -> None:
    """Drop the view."""
    op.get_bind().exec_driver_sql(f"DROP VIEW {_prefix(schema)}xclaim_lineage")


def _prefix(schema: str | None) -> str:
    if schema is None:
        return ""
    quoted = op.get_bind().dialect.identifier_preparer.quote_identifier(schema)
    return f"{quoted}."
