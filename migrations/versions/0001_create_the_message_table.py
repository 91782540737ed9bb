"""Create the message table, its views, and the table of settings.

Revision ID: 0001
Revises:
Create Date: 2026-11-26
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import sqlalchemy as sa
from alembic.operations import Operations
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# A queue rewrites each row two or three times: leave room for that on the row's own page, and
# vacuum by count rather than by a fifth of the table.
STORAGE = """
    fillfactor = 70,
    autovacuum_vacuum_threshold = 1000,
    autovacuum_vacuum_scale_factor = 0.01,
    autovacuum_analyze_threshold = 1000,
    autovacuum_analyze_scale_factor = 0.02,
    autovacuum_vacuum_insert_scale_factor = 0.05,
    autovacuum_vacuum_cost_limit = 2000
"""

# A dead-letter queue is counted with the queue its letters were dropped from. The ages are
# intervals, on SQLite seconds. What is tried again is counted as available or delayed, too, what is
# in line behind another of its ordering key as neither; `head_attempts` is how often the message
# was tried that would be claimed next.
QUEUE_STATS = """
SELECT counted.*,
       (SELECT head.attempts
          FROM {table} AS head
         WHERE head.queue = counted.queue AND head.status = 'available'
           AND head.available_at >= '-infinity' AND head.available_at <= statement_timestamp()
         ORDER BY head.priority DESC, head.available_at, head.id
         LIMIT 1) AS head_attempts
  FROM (
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
         AS oldest_claim_age,
       count(*) FILTER (WHERE is_tried_again) AS retrying,
       min(available_at) FILTER (WHERE is_tried_again) AS next_try_at,
       count(*) FILTER (WHERE status = 'available' AND available_at IS NULL) AS in_line
  FROM (SELECT CASE WHEN queue LIKE '%%.dead' THEN left(queue, -5) ELSE queue END AS queue,
               queue LIKE '%%.dead' AS is_dead,
               available_at <= statement_timestamp() AS is_due,
               status = 'available' AND attempts > 0 AND queue NOT LIKE '%%.dead' AS is_tried_again,
               status, {available_at} AS available_at, {claimed_at} AS claimed_at
          FROM {table}) AS message
 GROUP BY queue) AS counted
"""
SQLITE_QUEUE_STATS = """
SELECT counted.*,
       (SELECT head.attempts
          FROM {table} AS head
         WHERE head.queue = counted.queue AND head.status = 'available'
           AND head.available_at IS NOT NULL
           AND head.available_at <= strftime('%Y-%m-%d %H:%M:%f', 'now')
         ORDER BY head.priority DESC, head.available_at, head.id
         LIMIT 1) AS head_attempts
  FROM (
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
         AS oldest_claim_age,
       count(*) FILTER (WHERE is_tried_again) AS retrying,
       min(available_at) FILTER (WHERE is_tried_again) AS next_try_at,
       count(*) FILTER (WHERE status = 'available' AND available_at IS NULL) AS in_line
  FROM (SELECT CASE WHEN substr(queue, -5) = '.dead'
                    THEN substr(queue, 1, length(queue) - 5) ELSE queue END AS queue,
               substr(queue, -5) = '.dead' AS is_dead,
               available_at <= strftime('%Y-%m-%d %H:%M:%f', 'now') AS is_due,
               status = 'available' AND attempts > 0 AND substr(queue, -5) <> '.dead'
                 AS is_tried_again,
               status, available_at, claimed_at
          FROM {table}) AS message
 GROUP BY queue) AS counted
"""

# A consumer in Airflow is named dag/run/task[map]#try@host. Neither dag nor task ids may contain a
# slash or a bracket, so the first slash ends the dag and the last begins the task. There is no
# backslash, which is another character where standard_conforming_strings is off.
LINEAGE = """
SELECT id, origin_queue AS queue, unique_key, payload, status, attempts,
       headers ->> 'dag_id' AS producer_dag_id,
       headers ->> 'run_id' AS producer_run_id,
       headers ->> 'task_id' AS producer_task_id,
       headers ->> 'map_index' AS producer_map_index,
       headers ->> 'try_number' AS producer_try_number,
       {created_at} AS created_at,
       coalesce(consumed_by, claimed_by) AS consumer,
       name[1] AS consumer_dag_id,
       name[2] AS consumer_run_id,
       name[3] AS consumer_task_id,
       CASE WHEN name IS NOT NULL THEN coalesce(name[4], '-1') END AS consumer_map_index,
       name[5] AS consumer_try_number,
       {claimed_at} AS claimed_at, {consumed_at} AS consumed_at, last_error
  FROM {table}
  LEFT JOIN LATERAL regexp_match(
         coalesce(consumed_by, claimed_by),
         '^([^/]+)/(.*)/([^/#[]+)(?:[[]([0-9]+)[]])?#([0-9]+)@[^/@]*$') AS name ON true
"""
# The same without regular expressions: rtrim of everything but slashes leaves what is before the
# task.
SQLITE_LINEAGE = """
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
                                       {dag_id} AS producer_dag_id,
                                       {run_id} AS producer_run_id,
                                       {task_id} AS producer_task_id,
                                       CAST({map_index} AS TEXT) AS producer_map_index,
                                       CAST({try_number} AS TEXT) AS producer_try_number,
                                       coalesce(consumed_by, claimed_by) AS consumer
                                  FROM (SELECT *,
                                               CASE WHEN typeof(headers_as_written) <> 'text'
                                                    THEN '{{}}'
                                                    WHEN json_valid(headers_as_written)
                                                    THEN headers_as_written
                                                    ELSE '{{}}' END AS headers
                                          FROM (SELECT id, origin_queue, unique_key, payload,
                                                       status, attempts, created_at, claimed_at,
                                                       consumed_at, claimed_by, consumed_by,
                                                       last_error, headers AS headers_as_written
                                                  FROM {table}))))))
"""

# All but the payload, the headers, the errors and the token: what may be confidential.
OVERVIEW = """
SELECT id, queue, origin_queue, status, priority, unique_key, attempts, max_attempts,
       {created_at} AS created_at, {available_at} AS available_at, {claimed_at} AS claimed_at,
       {claim_expires_at} AS claim_expires_at, {consumed_at} AS consumed_at,
       claimed_by, consumed_by, claim_key, last_error_class, codec,
       ordering_key, {due_at} AS due_at, keeps_turn, awaited_ids
  FROM {table}
"""

# What failed and is tried again: of errors only the class, since their texts may be confidential.
FAILING = """
SELECT id, queue, unique_key, attempts, max_attempts, {available_at} AS next_try_at,
       last_error_class AS error_class
  FROM {table}
 WHERE status = 'available' AND {is_present} AND attempts > 0
   AND substr(queue, length(queue) - 4) <> '.dead'
"""

# A message is available as a dead letter since it died. Without a class: no exception but a text.
DEAD_LETTERS = """
SELECT queue, last_error_class AS error_class, count(*) AS messages,
       min({available_at}) AS first_died_at, max({available_at}) AS last_died_at,
       max(id) AS newest_id
  FROM {table}
 WHERE status = 'available' AND {is_present} AND substr(queue, length(queue) - 4) = '.dead'
 GROUP BY queue, last_error_class
"""

# One row for each failed attempt that is kept. What was written by hand may be no array, or not of
# our objects: it stops nobody from reading the others.
FAILURES = """
SELECT message.id, message.queue, message.origin_queue, message.status,
       CASE jsonb_typeof(failure -> 'attempt') WHEN 'number'
            THEN (failure ->> 'attempt')::numeric END AS attempt,
       CASE WHEN jsonb_typeof(failure -> 'at') IN ('string', 'number')
            THEN failure ->> 'at' END AS failed_at,
       CASE WHEN jsonb_typeof(failure -> 'claimed_by') IN ('string', 'number')
            THEN failure ->> 'claimed_by' END AS claimed_by,
       CASE WHEN jsonb_typeof(failure -> 'error_class') IN ('string', 'number')
            THEN failure ->> 'error_class' END AS error_class,
       CASE WHEN jsonb_typeof(failure -> 'error') IN ('string', 'number')
            THEN failure ->> 'error' END AS error
  FROM {table} AS message
 CROSS JOIN LATERAL jsonb_array_elements(
         CASE jsonb_typeof(message.failures) WHEN 'array' THEN message.failures ELSE '[]' END)
         AS kept (failure)
"""
# JSON may have half a surrogate pair. SQLite takes it out as text that no driver reads: a view with
# one such row would raise for all. SQLite itself reads it as the mark of what is no text, and where
# there is one puts the text together again, character by character: as many as a failure keeps.
SQLITE_TEXT = """
CASE WHEN {text} GLOB '*' || char(65533) || '*'
     THEN (WITH RECURSIVE places (place) AS (
                SELECT 1 UNION ALL SELECT place + 1 FROM places WHERE place < 1000)
           SELECT group_concat(char(unicode(substr({text}, place, 1))), '')
             FROM places WHERE place <= length({text}))
     ELSE {text} END"""
SQLITE_FAILURES = """
SELECT message.id, message.queue, message.origin_queue, message.status,
       {attempt} AS attempt, {at} AS failed_at, {claimed_by} AS claimed_by,
       {error_class} AS error_class, {error} AS error
  FROM {table} AS message,
       json_each(CASE WHEN typeof(message.failures) = 'text' AND json_valid(message.failures)
                      THEN CASE json_type(message.failures) WHEN 'array'
                                THEN message.failures ELSE '[]' END
                      ELSE '[]' END) AS kept
"""

# Whoever may DELETE may also lock the table against everybody, so a maintainer has no such right.
# It may call this, which deletes by id what its own policies FOR DELETE let it. The role is the one
# that the session has taken. What is claimed is never deleted. Who has the rights of the owner
# deletes by a statement, and is refused here: the session of a superuser also runs what others
# have written, as when it analyses a table whose index has an expression.
DELETE = """
DECLARE
    message regclass := {table};
    caller name := coalesce(nullif(current_setting('role'), 'none'), session_user);
    condition text;
    deleted bigint[];
BEGIN
    SELECT concat_ws(' AND ',
                     '(' || string_agg(expression, ' OR ') FILTER (WHERE polpermissive) || ')',
                     string_agg(expression, ' AND ') FILTER (WHERE NOT polpermissive))
      INTO condition
      FROM pg_policy
     CROSS JOIN LATERAL (
            SELECT '(' || coalesce(pg_get_expr(polqual, polrelid), 'false') || ')')
            AS rule (expression)
     WHERE polrelid = message AND polcmd IN ('d', '*')
       AND EXISTS (SELECT FROM unnest(polroles) AS of_role
                    WHERE of_role = 0 OR pg_has_role(caller, of_role, 'USAGE'))
    HAVING bool_or(polpermissive);
    IF pg_has_role(caller, current_user, 'USAGE') THEN
        RAISE insufficient_privilege
        USING MESSAGE = format('role %s has the rights of the owner of the table', caller),
              HINT = 'delete from the table itself, or SET ROLE to a maintainer first';
    ELSIF condition IS NULL THEN
        RAISE insufficient_privilege
        USING MESSAGE = format('role %s has no policy to delete messages', caller);
    END IF;
    EXECUTE format('WITH gone AS (DELETE FROM %s WHERE id = ANY ($1) AND status = $2'
                   ' AND status <> ''claimed'' AND %s RETURNING id)'
                   ' SELECT array_agg(id) FROM gone', message, condition)
       INTO deleted USING ids, of_status;
    RETURN coalesce(deleted, '{{}}');
END
"""

# The only one: PostgreSQL compiles each CHECK anew in every statement that writes to the table.
_STATUS = (
    "CASE WHEN claim_token IS NOT NULL THEN status = 'claimed' AND consumed_at IS NULL"
    " WHEN consumed_at IS NULL THEN status = 'available' ELSE status = 'consumed' END"
)

VIEWS = (
    "xclaim_queue_stats",
    "xclaim_lineage",
    "xclaim_overview",
    "xclaim_failing",
    "xclaim_dead_letters",
    "xclaim_failures",
)


# The verbs, each as `CREATE OR REPLACE FUNCTION ... AS $$ body $$;`, made of what xclaim sends.
FUNCTIONS = Path(__file__).with_name("0001_functions.sql")
ORDERING = {
    "xclaim_line_up": "bigint[]",
    "xclaim_pass_owed": "text",
    "xclaim_give_turn": "text, text, bigint[], boolean",
    "xclaim_unfree": "bigint[]",
    "xclaim_pass_on": "bigint",
    "xclaim_owe": "bigint, bigint[]",
    "xclaim_give_back": "bigint",
    "xclaim_pass_turn": "",
}


def upgrade(op: Operations, schema: str | None = None) -> None:
    """Create the tables, partial indexes, views, the function that deletes, and the verbs."""
    _create_table(op, schema)
    _create_queue_table(op, schema)
    _create_slot_table(op, schema)
    _create_indexes(op, schema)
    _create_views(op, schema)
    if _is_postgresql(op):
        _create_functions(op, schema)


def downgrade(op: Operations, schema: str | None = None) -> None:
    """Drop the functions and the views, then the tables, and with them every message."""
    if _is_postgresql(op):
        _refuse_capabilities(op, schema)
        # Not CASCADE: a trigger of yours that pushes is yours to drop.
        for name in re.findall(r"FUNCTION {schema}[.](\w+)", FUNCTIONS.read_text("utf-8")):
            _run(op, f"DROP FUNCTION IF EXISTS {_qualified(op, name, schema)}")
        _run(
            op, f"DROP FUNCTION IF EXISTS {_qualified(op, 'xclaim_delete', schema)}(bigint[], text)"
        )
        # Of `xclaim ordering enable`: its triggers and indexes go with the table.
        for name, types in ORDERING.items():
            _run(op, f"DROP FUNCTION IF EXISTS {_qualified(op, name, schema)}({types}) CASCADE")
    for name in reversed(VIEWS):
        _run(op, f"DROP VIEW IF EXISTS {_qualified(op, name, schema)}")
    # What is missing is the reason why somebody begins anew.
    op.drop_table("xclaim_slot", schema=schema, if_exists=True)
    op.drop_table("xclaim_queue", schema=schema, if_exists=True)
    op.drop_table("xclaim_message", schema=schema, if_exists=True)


def _refuse_capabilities(op: Operations, schema: str | None) -> None:
    """Fail where capabilities are there: their roles and functions would be left behind."""
    table = _literal(_qualified(op, "xclaim_message", schema))
    command = (
        f"'xclaim grants capability --drop --apply --schema ' || {_for_a_shell('home.nspname')}"
        f" || ' -- ' || {_for_a_shell('place.nspname')}"
    )
    # Only of schemas of the table's owner: the comment of another says whatever its owner likes.
    body = f"""
DECLARE
    names text;
    commands text;
BEGIN
    SELECT string_agg(quote_ident(place.nspname), ', ' ORDER BY place.nspname),
           string_agg({command}, '; ' ORDER BY place.nspname) INTO names, commands
      FROM pg_class AS class
      JOIN pg_namespace AS home ON home.oid = class.relnamespace
      JOIN pg_namespace AS place ON place.nspowner = class.relowner
     CROSS JOIN concat(', "schema": ', to_json(home.nspname::text), '}}') AS its_end
      JOIN pg_description AS said
        ON said.objoid = place.oid AND said.classoid = 'pg_namespace'::regclass
     WHERE class.oid = to_regclass({table})
       AND starts_with(said.description, 'xclaim capability ')
       AND right(said.description, length(its_end)) = its_end;
    IF names IS NOT NULL THEN
        RAISE dependent_objects_still_exist USING
            MESSAGE = 'there are capabilities, whose functions and roles would be left behind: '
                || names || '; drop each first: ' || commands;
    END IF;
END"""  # noqa: S608  (a name of ours, quoted)
    _run(op, f"DO {_literal(body)}".replace("%", "%%"))


def _for_a_shell(name: str) -> str:
    """Return SQL for the text of a name as a shell reads it."""
    quoted = f"""'''' || replace({name}, '''', '''"''"''') || ''''"""
    return f"CASE WHEN {name} ~ '^[A-Za-z0-9_.-]+$' THEN {name}::text ELSE {quoted} END"


def _create_table(op: Operations, schema: str | None) -> None:
    integer = sa.BigInteger().with_variant(sa.Integer, "sqlite")
    json = postgresql.JSONB().with_variant(sa.Text(), "sqlite")
    timestamp = sa.DateTime(timezone=True).with_variant(sa.Text(), "sqlite")
    ids = sa.ARRAY(sa.BigInteger).with_variant(sa.Text, "sqlite")
    op.create_table(
        "xclaim_message",
        # The order is for PostgreSQL: of a row that is rewritten it logs the bytes from the first
        # that changed to the last. So what changes stands together, behind fixed widths and before
        # texts that stay as they are.
        sa.Column("id", integer, sa.Identity(always=True), primary_key=True),
        sa.Column("created_at", timestamp, nullable=False),
        sa.Column("available_at", timestamp),
        sa.Column("due_at", timestamp),
        sa.Column("max_attempts", sa.Integer, server_default=sa.text("20")),
        sa.Column("priority", sa.SmallInteger, nullable=False, server_default=sa.text("0")),
        sa.Column("attempts", sa.Integer, nullable=False, server_default=sa.text("0")),
        sa.Column("claimed_at", timestamp),
        sa.Column("claim_expires_at", timestamp),
        sa.Column("consumed_at", timestamp),
        sa.Column("claim_token", sa.Uuid),
        sa.Column("keeps_turn", sa.Boolean),
        sa.Column("status", sa.Text, nullable=False, server_default=sa.text("'available'")),
        sa.Column("claimed_by", sa.Text),
        sa.Column("consumed_by", sa.Text),
        sa.Column("claim_key", sa.Text),
        sa.Column("last_error", sa.Text),
        sa.Column("last_error_class", sa.Text),
        sa.Column("failures", json),
        sa.Column("queue", sa.Text, nullable=False),
        sa.Column("origin_queue", sa.Text, nullable=False),
        sa.Column("unique_key", sa.Text),
        sa.Column("ordering_key", sa.Text),
        sa.Column("awaited_ids", ids),
        sa.Column("codec", sa.Text),
        sa.Column("headers", json, nullable=False, server_default=sa.text("'{}'")),
        sa.Column("payload", json, nullable=False),
        sa.CheckConstraint(_STATUS, name="ck_xclaim_message_status"),
        schema=schema,
        sqlite_autoincrement=True,
    )
    if _is_postgresql(op):
        _run(op, f"ALTER TABLE {_qualified(op, 'xclaim_message', schema)} SET ({STORAGE})")


def _create_queue_table(op: Operations, schema: str | None) -> None:
    """Create the settings of queues, one row for each that has any."""
    paused = (
        "(paused_at IS NULL) = (paused_by IS NULL) AND (paused_at IS NOT NULL OR reason IS NULL)"
    )
    backlog = (
        "CASE WHEN max_backlog IS NULL THEN on_full IS NULL"
        " ELSE max_backlog BETWEEN 1 AND 1000000 AND on_full IS NOT NULL"
        " AND on_full IN ('raise', 'wait', 'skip') END"
    )
    limits = (
        "coalesce(concurrency > 0, true)"
        " AND CASE WHEN rate IS NULL THEN rate_seconds IS NULL AND burst IS NULL"
        " ELSE coalesce(rate > 0 AND burst > 0"
        " AND rate_seconds > 0 AND rate_seconds <= 316224000"
        " AND burst * rate_seconds <= rate * 31557600000.0, false) END"
    )
    op.create_table(
        "xclaim_queue",
        sa.Column("queue", sa.Text, primary_key=True),
        sa.Column("paused_at", sa.DateTime(timezone=True).with_variant(sa.Text(), "sqlite")),
        sa.Column("paused_by", sa.Text),
        sa.Column("reason", sa.Text),
        sa.Column("max_backlog", sa.Integer),
        sa.Column("on_full", sa.Text),
        sa.Column("concurrency", sa.Integer),
        sa.Column("rate", sa.Integer),
        sa.Column("rate_seconds", sa.Double),
        sa.Column("burst", sa.Integer),
        sa.CheckConstraint("queue <> ''", name="ck_xclaim_queue_name"),
        sa.CheckConstraint(paused, name="ck_xclaim_queue_paused"),
        sa.CheckConstraint(backlog, name="ck_xclaim_queue_backlog"),
        sa.CheckConstraint(limits, name="ck_xclaim_queue_limits"),
        schema=schema,
    )


def _create_slot_table(op: Operations, schema: str | None) -> None:
    """Create the slots of queues with limits."""
    op.create_table(
        "xclaim_slot",
        sa.Column("queue", sa.Text, primary_key=True),
        sa.Column("kind", sa.Text, primary_key=True),
        sa.Column("slot", sa.SmallInteger, primary_key=True, autoincrement=False),
        sa.Column("message_id", sa.BigInteger),
        sa.Column("taken_at", sa.DateTime(timezone=True).with_variant(sa.Text(), "sqlite")),
        schema=schema,
    )


def _create_indexes(op: Operations, schema: str | None) -> None:
    def create(
        name: str, columns: Sequence[str | sa.TextClause], where: str, *, unique: bool = False
    ) -> None:
        condition = sa.text(where)
        op.create_index(
            name,
            "xclaim_message",
            columns,
            schema=schema,
            unique=unique,
            postgresql_where=condition,
            sqlite_where=condition,
        )

    create(
        "ix_xclaim_message_claim",
        ["queue", sa.text("priority DESC"), "available_at", "id"],
        "status = 'available' AND available_at IS NOT NULL",
    )
    expiring = "claim_expires_at IS NOT NULL"
    create("ix_xclaim_message_expiry", ["queue", "claim_expires_at"], expiring)
    create("ix_xclaim_message_claim_key", ["claim_key"], "claim_key IS NOT NULL")
    create("ix_xclaim_message_consumed", ["queue", "consumed_at"], "consumed_at IS NOT NULL")
    create(
        "uq_xclaim_message_unique_key",
        ["origin_queue", "unique_key"],
        "unique_key IS NOT NULL",
        unique=True,
    )


def _create_views(op: Operations, schema: str | None) -> None:
    """Create each in the database's own SQL.

    A view has its owner's rights: it would show every queue to a role that row-level security
    limits to one. PostgreSQL 15 and later can give it those of its reader.
    """
    is_postgresql = _is_postgresql(op)
    queries = (
        QUEUE_STATS if is_postgresql else SQLITE_QUEUE_STATS,
        LINEAGE if is_postgresql else SQLITE_LINEAGE,
        OVERVIEW,
        FAILING,
        DEAD_LETTERS,
        FAILURES if is_postgresql else SQLITE_FAILURES,
    )
    version = op.get_bind().dialect.server_version_info or ()
    invoker = " WITH (security_invoker = true)" if is_postgresql and version >= (15,) else ""
    table = _qualified(op, "xclaim_message", schema)
    # By the partial index of what can be claimed: without this they would read all history.
    is_present = f"available_at {'>= ' + repr('-infinity') if is_postgresql else 'IS NOT NULL'}"
    for name, query in zip(VIEWS, queries, strict=True):
        view = _qualified(op, name, schema)
        columns = {**_times(is_postgresql), **_json_fields()}
        defined = query.format(table=table, is_present=is_present, **columns)
        _run(op, f"CREATE VIEW {view}{invoker} AS {defined}")


def _times(is_postgresql: bool) -> dict[str, str]:  # noqa: FBT001  (the same for all views)
    """Return the columns with times as the views show them.

    PostgreSQL has times that are infinite or of years that few languages know, and none of these
    must keep the other rows from being read: they are shown as the nearest time that all know.
    """
    names = (
        "created_at",
        "available_at",
        "due_at",
        "claimed_at",
        "claim_expires_at",
        "consumed_at",
    )
    if not is_postgresql:
        return {name: name for name in names}
    earliest, latest = "'0001-01-03 00:00:00+00'", "'9999-12-29 00:00:00+00'"
    return {
        name: f"CASE WHEN {name} < {earliest} THEN {earliest}"
        f" WHEN {name} > {latest} THEN {latest} ELSE {name} END"
        for name in names
    }


def _json_fields() -> dict[str, str]:
    """Return the fields of JSON documents as the views of SQLite show them."""
    failure = ("attempt", "at", "claimed_by", "error_class", "error")
    producer = ("dag_id", "run_id", "task_id", "map_index", "try_number")
    fields = {
        **{
            name: f"CASE WHEN kept.type = 'object' THEN json_extract(kept.value, '$.{name}') END"
            for name in failure
        },
        **{name: f"json_extract(headers, '$.{name}')" for name in producer},
    }
    return {name: SQLITE_TEXT.format(text=field) for name, field in fields.items()}


def _create_functions(op: Operations, schema: str | None) -> None:
    home = _home(op, schema)
    for name, head, body in function_definitions(home):
        _run(op, f"{head} AS {_literal(body)}".replace("%", "%%"))
        # Nobody's, as the table is: what a role needs it gets with its rights on that.
        _run(op, f"REVOKE ALL ON FUNCTION {_qualified(op, name, home)} FROM PUBLIC")


def function_definitions(home: str) -> Iterator[tuple[str, str, str]]:
    """Yield the name, the head and the body of each function, for this schema.

    Of that by which a maintainer deletes, and of those of the verbs.
    """
    schema = '"' + home.replace('"', '""') + '"'
    names = {
        "schema": schema,
        "message": _literal(f"{schema}.xclaim_message"),
        "pass_owed": _literal(f"{schema}.xclaim_pass_owed(text)"),
        "line_up": _literal(f"{schema}.xclaim_line_up(bigint[])"),
        "turn": _literal(f"{schema}.uq_xclaim_message_turn"),
    }
    delete = f"{schema}.xclaim_delete(ids bigint[], of_status text) RETURNS bigint[]"
    head = f"CREATE OR REPLACE FUNCTION {delete} LANGUAGE plpgsql VOLATILE SECURITY DEFINER"
    body = DELETE.format(table=names["message"])
    yield "xclaim_delete", f"{head} SET search_path = pg_catalog, pg_temp", body
    definition = re.compile(
        r"^(CREATE OR REPLACE FUNCTION {schema}[.](\w+).+?) AS [$]{2}\n(.+?)[$]{2};$",
        re.MULTILINE | re.DOTALL,
    )
    for head, name, body in definition.findall(FUNCTIONS.read_text("utf-8")):
        # In one go, because the name of a schema may be anything.
        named, filled = (
            re.sub(
                r"[{](schema|message|pass_owed|line_up|turn)[}]",
                lambda found: names[found[1]],
                part,
            )
            for part in (head, body)
        )
        yield name, named, filled


def _home(op: Operations, schema: str | None) -> str:
    """Return the schema by its name: what a function looks for does not depend on who calls it."""
    current = "SELECT pg_catalog.current_schema()"
    return schema or str(op.get_bind().exec_driver_sql(current).scalar_one())


def _literal(text: str) -> str:
    # E'' means the same whatever standard_conforming_strings says of backslashes.
    escaped = text.replace("\\", "\\\\").replace("'", "''")
    return f"E'{escaped}'"


def _run(op: Operations, statement: str) -> None:
    # Not op.execute, which takes a colon in the name of a schema for a parameter.
    op.get_bind().exec_driver_sql(statement)


def _is_postgresql(op: Operations) -> bool:
    return op.get_bind().dialect.name == "postgresql"


def _qualified(op: Operations, name: str, schema: str | None) -> str:
    if schema is None:
        return name
    return f"{op.get_bind().dialect.identifier_preparer.quote_identifier(schema)}.{name}"
