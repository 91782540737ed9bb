"""Ask PostgreSQL's catalogs and statistics about the table and what surrounds it.

Text, because SQLAlchemy knows no catalogs; the full names of functions and operators are filled in
when it is sent. ``schema`` NULL stands for the search path.
https://www.postgresql.org/docs/current/monitoring-stats.html
"""

from __future__ import annotations

from functools import lru_cache

from sqlalchemy import Text, TextClause, bindparam, text

from xclaim.sql.ordering import USERS_OF_LINES
from xclaim.sql.schema import TABLE_NAME, VERSION_TABLE_NAME

_TABLE = """(
  SELECT class.oid FROM pg_class AS class JOIN pg_namespace AS namespace
      ON namespace.oid = class.relnamespace
   WHERE class.relname = '{name}' AND class.relkind = 'r'
     AND CASE WHEN :schema IS NULL THEN pg_table_is_visible(class.oid)
              ELSE namespace.nspname = :schema END
)"""


def _about_table(sql: str, name: str = TABLE_NAME) -> TextClause:
    about = sql.format(table=_TABLE.format(name=name))
    return text(about).bindparams(bindparam("schema", type_=Text))


@lru_cache
def columns(table_name: str) -> TextClause:
    """Return the names of a table's columns."""
    return _about_table(
        "SELECT attname FROM pg_attribute"
        " WHERE attrelid = {table} AND attnum > 0 AND NOT attisdropped",
        table_name,
    )


@lru_cache
def valid_checks(table_name: str) -> TextClause:
    """Return the names of a table's CHECK constraints that hold for all rows."""
    return _about_table(
        "SELECT conname FROM pg_constraint"
        " WHERE conrelid = {table} AND contype = 'c' AND convalidated",
        table_name,
    )


@lru_cache
def indexes(table_name: str = TABLE_NAME) -> TextClause:
    """Return each index of a table: is it valid, how large, and for how many entries."""
    return _about_table(
        "SELECT class.relname AS name, indisvalid AND indisready AND indislive AS is_valid,"
        " pg_relation_size(class.oid) AS size, greatest(class.reltuples, 0) AS entries"
        " FROM pg_index JOIN pg_class AS class ON class.oid = indexrelid"
        " WHERE indrelid = {table}",
        table_name,
    )


@lru_cache
def table_health(table_name: str = TABLE_NAME) -> TextClause:
    """Return what autovacuum has done for a table lately, and what it was told."""
    return _about_table(
        "SELECT n_live_tup AS live, n_dead_tup AS dead, class.reloptions AS options,"
        " greatest(last_autovacuum, last_vacuum) AS vacuumed_at,"
        " greatest(last_autoanalyze, last_analyze) AS analyzed_at,"
        " pg_total_relation_size(class.oid) AS size"
        " FROM pg_class AS class LEFT JOIN pg_stat_user_tables ON relid = class.oid"
        " WHERE class.oid = {table}",
        table_name,
    )


@lru_cache
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
        "   AND NOT backend_type IN ('walsender', 'autovacuum worker')"
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


@lru_cache
def read_only() -> TextClause:
    """Return whether nothing can be written here, and whether that is because it is a standby."""
    return text(
        "SELECT current_setting('transaction_read_only') = 'on' AS is_read_only,"
        " pg_is_in_recovery() AS is_standby"
    )


@lru_cache
def sees_sessions() -> TextClause:
    """Return whether the role sees what the sessions of other roles do, and standbys."""
    return text("SELECT pg_has_role('pg_read_all_stats', 'USAGE') AS is_allowed")


@lru_cache
def standbys() -> TextClause:
    """Return how each standby follows: name, and whether a commit waits for it."""
    return text(
        "SELECT coalesce(CASE WHEN application_name <> '' THEN application_name END,"
        "       client_addr::text) AS name, sync_state"
        "  FROM pg_stat_replication ORDER BY name"
    )


@lru_cache
def settings() -> TextClause:
    """Return the settings of the server that matter to a queue, by name."""
    return text(
        "SELECT name, setting FROM pg_settings WHERE name IN ('autovacuum', 'track_counts',"
        " 'fsync', 'full_page_writes', 'synchronous_commit', 'max_connections')"
    )


@lru_cache
def connections() -> TextClause:
    """Return how many client connections the server has."""
    return text(
        "SELECT count(*) AS connections FROM pg_stat_activity WHERE backend_type = 'client backend'"
    )


@lru_cache
def backend_process() -> TextClause:
    """Return the process that serves this statement, and the server's clock."""
    return text("SELECT pg_backend_pid() AS pid, clock_timestamp() AS now")


@lru_cache
def parts() -> TextClause:
    """Return the names of valid indexes and triggers of the table, and functions beside it."""
    return _about_table(
        "SELECT index.relname AS name"
        "  FROM pg_index JOIN pg_class AS index ON index.oid = indexrelid"
        " WHERE indrelid = {table} AND indisvalid"
        " UNION ALL SELECT concat('trigger ', tgname)"
        "  FROM pg_trigger WHERE tgrelid = {table} AND tgenabled = 'O'"
        " UNION ALL SELECT proname FROM pg_proc JOIN pg_class AS near"
        " ON near.relnamespace = pronamespace WHERE near.oid = {table}"
    )


@lru_cache
def definitions() -> TextClause:
    """Return how each index and each trigger of the table is defined, and what a trigger calls."""
    return _about_table(
        "SELECT index.relname::text AS name, pg_get_indexdef(index.oid) AS definition,"
        "       NULL::text AS calls"
        "  FROM pg_index JOIN pg_class AS index ON index.oid = indexrelid"
        " WHERE indrelid = {table}"
        " UNION ALL SELECT tgname::text, pg_get_triggerdef(pg_trigger.oid),"
        "       concat(quote_ident(home.nspname::text), '.', quote_ident(called.proname::text))"
        "  FROM pg_trigger JOIN pg_proc AS called ON called.oid = tgfoid"
        "  JOIN pg_namespace AS home ON home.oid = called.pronamespace"
        " WHERE tgrelid = {table} AND NOT tgisinternal"
    )


@lru_cache
def writers() -> TextClause:
    """Return which roles push with keys to the table or settle, but for its owner."""
    return _about_table(
        "SELECT privilege, coalesce(role, 'PUBLIC') AS role"  # noqa: S608  (a constant of ours)
        f"  FROM ({USERS_OF_LINES}) AS of_table"
    )


@lru_cache
def citus() -> TextClause:
    """Return the version of Citus; no row where there is none."""
    return text("SELECT extversion AS version FROM pg_extension WHERE extname = 'citus'")


@lru_cache
def citus_group() -> TextClause:
    """Return the number of this node's group: 0 for the coordinator. Only where Citus is.

    https://docs.citusdata.com/en/stable/develop/api_metadata.html
    """
    return text("SELECT groupid AS number FROM pg_dist_local_group")


@lru_cache
def citus_nodes() -> TextClause:
    """Return the nodes that have the table's rows; none: they are here. Only where Citus is."""
    return _about_table(
        "SELECT concat(node.nodename, ':', node.nodeport) AS address FROM pg_dist_shard AS shard"
        " JOIN pg_dist_placement AS placement ON placement.shardid = shard.shardid"
        " JOIN pg_dist_node AS node ON node.groupid = placement.groupid"
        " WHERE shard.logicalrelid = {table} AND node.noderole = 'primary' ORDER BY address"
    )


@lru_cache
def place() -> TextClause:
    """Return the schema that the table is in, or else would be created in, and the search path."""
    return text(
        "SELECT coalesce("
        "         (SELECT nspname FROM pg_class AS class JOIN pg_namespace AS namespace"
        "              ON namespace.oid = class.relnamespace"
        "           WHERE class.oid = coalesce(to_regclass(:version), to_regclass(:message))),"
        "         current_schema()) AS schema,"
        "       current_setting('search_path') AS search_path"
    ).bindparams(
        bindparam("version", VERSION_TABLE_NAME, Text), bindparam("message", TABLE_NAME, Text)
    )


@lru_cache
def set_search_path() -> TextClause:
    """Set the search path until the transaction ends."""
    return text("SELECT set_config('search_path', :search_path, true)").bindparams(
        bindparam("search_path", type_=Text)
    )


@lru_cache
def search_path() -> TextClause:
    """Return the search path as it is set."""
    return text("SELECT current_setting('search_path') AS search_path")


@lru_cache
def open_path() -> TextClause:
    """Return where others may create objects that the search path finds: what, name, and who may.

    In a schema of the path, or, where it names one after the user, in the database. Not those who
    may do everything there anyway: superusers, the owner, and the role that asks.
    """
    return text(
        "WITH place AS ("
        "     SELECT 'SCHEMA' AS kind, nspname::text AS name, nspowner AS owner,"
        "            coalesce(nspacl, acldefault('n', nspowner)) AS rights"
        "       FROM pg_namespace WHERE nspname::text = ANY (current_schemas(false)::text[])"
        "      UNION ALL "
        "     SELECT 'DATABASE', datname::text, datdba, coalesce(datacl, acldefault('d', datdba))"
        "       FROM pg_database"
        "      WHERE datname = current_database()"
        "        AND strpos(current_setting('search_path'), '$user') > 0)"
        "SELECT place.kind, place.name,"
        "       array_agg(coalesce(role.rolname::text, 'PUBLIC') ORDER BY role.rolname) AS roles"
        "  FROM place"
        " CROSS JOIN aclexplode(place.rights) AS granted"
        "  LEFT JOIN pg_roles AS role ON role.oid = granted.grantee"
        " WHERE granted.privilege_type = 'CREATE' AND granted.grantee <> place.owner"
        "   AND NOT coalesce(role.rolsuper OR role.rolname = current_user, false)"
        " GROUP BY place.kind, place.name ORDER BY 1, 2"
    )
