"""Ask PostgreSQL's catalogs and statistics about the table and what surrounds it.

Text, because SQLAlchemy knows no catalogs. ``schema`` NULL stands for the search path.
https://www.postgresql.org/docs/current/monitoring-stats.html
"""

from __future__ import annotations

from sqlalchemy import Text, TextClause, bindparam, text

from xclaim.sql.schema import TABLE_NAME

_TABLE = f"""(
  SELECT class.oid FROM pg_class AS class JOIN pg_namespace AS namespace
      ON namespace.oid = class.relnamespace
   WHERE class.relname = '{TABLE_NAME}' AND class.relkind = 'r'
     AND CASE WHEN :schema IS NULL THEN pg_table_is_visible(class.oid)
              ELSE namespace.nspname = :schema END
)"""  # noqa: S608  (a constant of ours)


def _about_table(sql: str) -> TextClause:
    return text(sql.format(table=_TABLE)).bindparams(bindparam("schema", type_=Text))


def valid_checks() -> TextClause:
    """Return the names of the table's CHECK constraints that hold for all rows."""
    return _about_table(
        "SELECT conname FROM pg_constraint"
        " WHERE conrelid = {table} AND contype = 'c' AND convalidated"
    )


def indexes() -> TextClause:
    """Return each index of the table: is it valid, how large, and for how many entries."""
    return _about_table(
        "SELECT class.relname AS name, indisvalid AND indisready AND indislive AS is_valid,"
        " pg_relation_size(class.oid) AS size, greatest(class.reltuples, 0) AS entries"
        " FROM pg_index JOIN pg_class AS class ON class.oid = indexrelid"
        " WHERE indrelid = {table}"
    )


def table_health() -> TextClause:
    """Return what autovacuum has done for the table lately, and what it was told."""
    return _about_table(
        "SELECT n_live_tup AS live, n_dead_tup AS dead, class.reloptions AS options,"
        " greatest(last_autovacuum, last_vacuum) AS vacuumed_at,"
        " greatest(last_autoanalyze, last_analyze) AS analyzed_at,"
        " pg_total_relation_size(class.oid) AS size"
        " FROM pg_class AS class LEFT JOIN pg_stat_user_tables ON relid = class.oid"
        " WHERE class.oid = {table}"
    )


def old_snapshots() -> TextClause:
    """Return who keeps dead rows from being removed, the oldest first: kind, name, age, detail.

    A backend with an old transaction, a prepared transaction, a replication slot, or a standby that
    sends feedback. ``age`` is in transactions.
    """
    return text(
        "SELECT 'backend' AS kind, pid::text AS name, age(backend_xmin) AS age,"
        "       concat_ws(', ', usename, application_name, state,"
        "                 'since ' || date_trunc('second', xact_start)) AS detail,"
        "       extract(epoch FROM clock_timestamp() - xact_start)::float AS seconds"
        "  FROM pg_stat_activity"
        " WHERE backend_xmin IS NOT NULL AND pid <> pg_backend_pid()"
        "   AND backend_type NOT IN ('walsender', 'autovacuum worker')"
        " UNION ALL "
        "SELECT 'prepared transaction', gid, age(transaction), owner::text,"
        "       extract(epoch FROM clock_timestamp() - prepared)::float"
        "  FROM pg_prepared_xacts"
        " UNION ALL "
        "SELECT 'replication slot', slot_name::text, age(xmin),"
        "       CASE WHEN active THEN 'active' ELSE 'not active' END, NULL"
        "  FROM pg_replication_slots WHERE xmin IS NOT NULL"
        " UNION ALL "
        "SELECT 'standby', coalesce(application_name, client_addr::text), age(backend_xmin),"
        "       state, NULL"
        "  FROM pg_stat_replication WHERE backend_xmin IS NOT NULL"
        " ORDER BY age DESC"
    )


def standbys() -> TextClause:
    """Return how each standby follows: name, and whether a commit waits for it."""
    return text(
        "SELECT coalesce(nullif(application_name, ''), client_addr::text) AS name, sync_state"
        "  FROM pg_stat_replication ORDER BY name"
    )


def settings() -> TextClause:
    """Return the settings of the server that matter to a queue, by name."""
    return text(
        "SELECT name, setting FROM pg_settings WHERE name IN ('autovacuum', 'track_counts',"
        " 'fsync', 'full_page_writes', 'synchronous_commit', 'max_connections')"
    )


def connections() -> TextClause:
    """Return how many client connections the server has."""
    return text("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'")


def backend_process() -> TextClause:
    """Return the process that serves this statement, and the server's clock."""
    return text("SELECT pg_backend_pid() AS pid, clock_timestamp() AS now")
