"""Ask PostgreSQL's catalogs about functions, and about the schemas and roles of capabilities.

Text, because SQLAlchemy knows no catalogs; the full names of functions and operators are filled in
when it is sent.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sqlalchemy import ARRAY, Text, TextClause, bindparam, text

MARK = "xclaim capability "  # begins the comment of a schema; the rest is JSON
# Where quote_all_identifiers is on PostgreSQL shows so what of our types it shows as any name, and
# keeps so the search path of a function that is made.
_QUOTED_TYPE = re.compile(r'"(bytea|jsonb|record|text|trigger|uuid|void)"')
_QUOTED_PATH = re.compile(r'"(pg_catalog|pg_temp)"')


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A function that a database has."""

    name: str
    argument_names: tuple[str, ...]
    argument_types: tuple[str, ...]
    argument_defaults: tuple[str | None, ...]
    result: str
    volatility: str
    language: str
    owner: str
    is_definer: bool
    settings: tuple[str, ...]
    body: str
    is_public: bool  # everybody may execute it
    grantees: tuple[str, ...]  # who else may, but for its owner
    granters: tuple[str, ...]  # who of them may give it to others

    @property
    def types(self) -> str:
        """What it takes, as its name is told from others of that name."""
        return ", ".join(self.argument_types)


@lru_cache
def surroundings() -> TextClause:
    """Return the names of the database and of the table's owner, and of a schema its comment."""
    return text(
        "SELECT current_database()::text AS database,"
        " pg_get_userbyid(message.relowner)::text AS owner,"
        " (SELECT nspname::text FROM pg_namespace WHERE oid = message.relnamespace) AS schema,"
        " message.relrowsecurity AS is_secured, home.oid IS NOT NULL AS is_schema,"
        " obj_description(home.oid, 'pg_namespace') AS comment,"
        " pg_get_userbyid(home.nspowner)::text AS schema_owner"
        " FROM pg_class AS message LEFT JOIN pg_namespace AS home ON home.nspname = :name"
        " WHERE message.oid = to_regclass(:message_table)"
    ).bindparams(bindparam("name", type_=Text), bindparam("message_table", type_=Text))


@lru_cache
def tables() -> TextClause:
    """Return a row if there is such a table, also in a schema that the role may not use."""
    return text(
        "SELECT class.relname::text AS name"
        "  FROM pg_class AS class JOIN pg_namespace AS home ON home.oid = class.relnamespace"
        " WHERE home.nspname = :home AND class.relname = :name"
    ).bindparams(bindparam("home", type_=Text), bindparam("name", type_=Text))


@lru_cache
def comments() -> TextClause:
    """Return the schemas of capabilities, each with its comment and who may create objects there.

    Not those who may because they own it.
    """
    return text(
        "SELECT home.nspname::text AS name, obj_description(home.oid, 'pg_namespace') AS comment,"
        "       pg_get_userbyid(home.nspowner)::text AS owner,"
        "       array(SELECT coalesce(role.rolname::text, 'PUBLIC')"
        "               FROM aclexplode(home.nspacl) AS granted"
        "               LEFT JOIN pg_roles AS role ON role.oid = granted.grantee"
        "              WHERE granted.privilege_type = 'CREATE'"
        "                AND granted.grantee <> home.nspowner ORDER BY 1) AS creators"
        "  FROM pg_namespace AS home"
        " WHERE starts_with(obj_description(home.oid, 'pg_namespace'), :mark) ORDER BY 1"
    ).bindparams(bindparam("mark", MARK, Text))


@lru_cache
def functions() -> TextClause:
    """Return the functions of a schema: what they take, do and are, and who may execute them."""
    place = "generate_series(1, made.pronargs) AS place ORDER BY place"
    execute = (
        "aclexplode(coalesce(made.proacl, acldefault('f', made.proowner))) AS granted"
        " WHERE granted.privilege_type = 'EXECUTE'"
    )
    return text(
        "SELECT made.proname::text AS name,"  # noqa: S608  (constants of ours)
        f"      array(SELECT made.proargnames[place] FROM {place}) AS argument_names,"
        f"      array(SELECT format_type(made.proargtypes[place - 1], NULL) FROM {place})"
        "           AS argument_types,"
        f"      array(SELECT pg_get_function_arg_default(made.oid, place) FROM {place})"
        "           AS argument_defaults,"
        "       pg_get_function_result(made.oid) AS result, made.provolatile::text AS volatility,"
        "       spoken.lanname::text AS language,"
        "       pg_get_userbyid(made.proowner)::text AS owner, made.prosecdef AS is_definer,"
        "       coalesce(made.proconfig, '{}') AS settings, made.prosrc AS body,"
        f"      exists(SELECT FROM {execute} AND granted.grantee = 0) AS is_public,"
        "       array(SELECT pg_get_userbyid(grantee)::text FROM"
        f"            (SELECT DISTINCT granted.grantee FROM {execute}"
        "                 AND granted.grantee <> 0 AND granted.grantee <> made.proowner) AS others"
        "             ORDER BY 1) AS grantees,"
        f"      array(SELECT DISTINCT pg_get_userbyid(granted.grantee)::text FROM {execute}"
        "                 AND granted.is_grantable AND granted.grantee <> made.proowner"
        "              ORDER BY 1) AS granters"
        "  FROM pg_proc AS made JOIN pg_namespace AS home ON home.oid = made.pronamespace"
        "  JOIN pg_language AS spoken ON spoken.oid = made.prolang"
        " WHERE home.nspname = :home AND made.prokind = 'f' ORDER BY made.proname, made.oid"
    ).bindparams(bindparam("home", type_=Text))


@lru_cache
def roles() -> TextClause:
    """Return of these roles: what they can beside what they are granted, and who can be them.

    Whoever may only give membership away, as PostgreSQL 16 lets who created a role, is no member.
    """
    member = (
        "coalesce((to_jsonb(tie) ->> 'set_option')::boolean, true)"
        " OR coalesce((to_jsonb(tie) ->> 'inherit_option')::boolean, true)"
    )
    return text(
        "SELECT role.rolname::text AS name,"  # noqa: S608  (constants of ours)
        "       role.rolcanlogin OR role.rolsuper OR role.rolcreaterole OR role.rolcreatedb"
        "           OR role.rolreplication OR role.rolbypassrls AS is_more,"
        "       array(SELECT pg_get_userbyid(tie.member)::text FROM pg_auth_members AS tie"
        f"             WHERE tie.roleid = role.oid AND ({member}) ORDER BY 1) AS members,"
        "       array(SELECT pg_get_userbyid(tie.roleid)::text FROM pg_auth_members AS tie"
        "              WHERE tie.member = role.oid ORDER BY 1) AS groups"
        "  FROM pg_roles AS role WHERE role.rolname = ANY (:names) ORDER BY 1"
    ).bindparams(bindparam("names", type_=ARRAY(Text)))


@lru_cache
def rights() -> TextClause:
    """Return what a role was granted itself in the schema of the table, and its policies there."""
    return text(
        "WITH home AS ("
        "     SELECT relnamespace AS oid FROM pg_class WHERE oid = to_regclass(:message_table)),"
        " grantee AS (SELECT oid FROM pg_roles WHERE rolname = :role)"
        "SELECT class.relname::text AS name, granted.privilege_type AS privilege,"
        "       of_class.column_name"
        "  FROM home JOIN pg_class AS class ON class.relnamespace = home.oid"
        " CROSS JOIN LATERAL ("
        "       SELECT class.relacl AS rights, '' AS column_name"
        "        UNION ALL SELECT attacl, attname::text FROM pg_attribute"
        "                   WHERE attrelid = class.oid) AS of_class"
        " CROSS JOIN LATERAL aclexplode(of_class.rights) AS granted"
        "  JOIN grantee ON grantee.oid = granted.grantee"
        " UNION ALL "
        "SELECT concat(proname, '(', oidvectortypes(proargtypes), ')'), granted.privilege_type, ''"
        "  FROM home JOIN pg_proc ON pronamespace = home.oid"
        " CROSS JOIN LATERAL aclexplode(proacl) AS granted"
        "  JOIN grantee ON grantee.oid = granted.grantee"
        " UNION ALL "
        "SELECT class.relname::text, concat('POLICY ', polname), ''"
        "  FROM home JOIN pg_class AS class ON class.relnamespace = home.oid"
        "  JOIN pg_policy ON polrelid = class.oid"
        "  JOIN grantee ON polroles = ARRAY[grantee.oid]"
    ).bindparams(bindparam("message_table", type_=Text), bindparam("role", type_=Text))


def plain_types(shown: str) -> str:
    """Return types as they are shown where ``quote_all_identifiers`` is off."""
    return _QUOTED_TYPE.sub(r"\1", shown)


def made_of(row: Any) -> Made:
    """Return a row of ``functions`` as a value."""
    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in row._asdict().items()
    }
    plain = {
        "argument_types": tuple(map(plain_types, values["argument_types"])),
        "result": plain_types(values["result"]),
        "settings": tuple(_QUOTED_PATH.sub(r"\1", each) for each in values["settings"]),
    }
    return Made(**{**values, **plain})
