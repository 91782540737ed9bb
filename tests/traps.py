"""Traps in a database: what somebody may put into a schema of the search path (CVE-2018-1058).

For each function, operator, type and catalog of PostgreSQL that a text of ours may mean, there is
one of the same name in `public`. It does the same, and writes down that it was called.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import psycopg
from sqlalchemy import make_url

import xclaim

_PACKAGE = Path(xclaim.__file__).parent
_MIGRATIONS = _PACKAGE.parents[1] / "migrations"
_SYMBOLS = [
    "=",
    "<>",
    "<",
    "<=",
    ">",
    ">=",
    "+",
    "-",
    "*",
    "/",
    "%",
    "||",
    "->",
    "->>",
    "~~",
    "!~~",
]
# Written so that nothing here is caught by what is being laid.
_LAY = """
CREATE SEQUENCE public.traps;
CREATE TABLE public.loot (taken pg_catalog.text);
GRANT INSERT, SELECT ON public.loot TO PUBLIC;

CREATE FUNCTION public.take(pg_catalog.text) RETURNS pg_catalog.bool LANGUAGE plpgsql AS $body$
BEGIN
  INSERT INTO public.loot VALUES ($1); RETURN true;
END $body$;

DO $lay$
DECLARE
  each record;
  made pg_catalog.text;
  other pg_catalog.text;
BEGIN
  FOR each IN
    SELECT DISTINCT oprname, oprleft::pg_catalog.regtype::pg_catalog.text AS lefts,
           oprright::pg_catalog.regtype::pg_catalog.text AS rights,
           oprresult::pg_catalog.regtype::pg_catalog.text AS result
      FROM pg_catalog.pg_operator
     WHERE oprnamespace = 'pg_catalog'::pg_catalog.regnamespace AND oprkind = 'b' AND oprcode <> 0
       AND oprname::pg_catalog.text = ANY (%(symbols)s::pg_catalog.text[])
       AND NOT EXISTS (SELECT FROM pg_catalog.pg_type
                        WHERE oid IN (oprleft, oprright, oprresult)
                          AND (typtype = 'p' OR typname = 'char' OR typname ~ '^reg'))
    UNION SELECT '=', lefts, rights, 'pg_catalog.bool'
            FROM (VALUES ('pg_catalog.text', 'pg_catalog.varchar'),
                         ('pg_catalog.varchar', 'pg_catalog.text'),
                         ('pg_catalog.varchar', 'pg_catalog.varchar'),
                         ('pg_catalog.name', 'pg_catalog.varchar'),
                         ('pg_catalog.oid', 'pg_catalog.regtype'),
                         ('pg_catalog.oid', 'pg_catalog.regclass')) AS near (lefts, rights)
    UNION SELECT '||', 'pg_catalog.text', 'pg_catalog.varchar', 'pg_catalog.text'
    UNION SELECT '*', number, 'pg_catalog.interval', 'pg_catalog.interval'
            FROM (VALUES ('pg_catalog.int2'), ('pg_catalog.int4'), ('pg_catalog.numeric'))
                 AS near (number)
  LOOP
    made := pg_catalog.format('trap_%%s', pg_catalog.nextval('public.traps'));
    EXECUTE pg_catalog.format(
      'CREATE FUNCTION public.%%I(%%s, %%s) RETURNS %%s LANGUAGE plpgsql AS %%L',
      made, each.lefts, each.rights, each.result,
      pg_catalog.format('BEGIN PERFORM public.take(%%L);'
                        '\nRETURN $1 OPERATOR(pg_catalog.%%s) $2; END',
                        each.lefts || each.oprname || each.rights, each.oprname));
    EXECUTE pg_catalog.format(
      'CREATE OPERATOR public.%%s (LEFTARG = %%s, RIGHTARG = %%s, FUNCTION = public.%%I)',
      each.oprname, each.lefts, each.rights, made);
  END LOOP;

  FOR each IN
    SELECT proname, pg_catalog.pg_get_function_arguments(oid) AS taken, pronargs, proretset,
           pg_catalog.pg_get_function_result(oid) AS result
      FROM pg_catalog.pg_proc
     WHERE pronamespace = 'pg_catalog'::pg_catalog.regnamespace AND prokind = 'f'
       AND provariadic = 0 AND proname::pg_catalog.text = ANY (%(names)s::pg_catalog.text[])
       AND pg_catalog.format_type(prorettype, NULL) NOT IN ('internal', 'cstring', 'trigger')
       AND NOT EXISTS (SELECT FROM pg_catalog.unnest(proargtypes) AS argument
                         JOIN pg_catalog.pg_type AS type ON type.oid = argument
                        WHERE typname IN ('internal', 'cstring', 'any'))
  LOOP
    SELECT pg_catalog.string_agg('$' || number, ', ') INTO other
      FROM pg_catalog.generate_series(1, each.pronargs) AS number;
    EXECUTE pg_catalog.format(
      'CREATE FUNCTION public.%%I(%%s) RETURNS %%s LANGUAGE plpgsql AS %%L',
      each.proname, each.taken, each.result,
      pg_catalog.format('#variable_conflict use_column'
                        '\nBEGIN PERFORM public.take(%%L); %%s pg_catalog.%%I(%%s); END',
                        each.proname,
                        CASE WHEN each.proretset THEN 'RETURN QUERY SELECT * FROM'
                             WHEN each.result = 'void' THEN 'PERFORM' ELSE 'RETURN' END,
                        each.proname, other));
  END LOOP;

  FOR each IN
    SELECT relname,
           (SELECT pg_catalog.string_agg(pg_catalog.quote_ident(attname), ', ')
              FROM pg_catalog.pg_attribute JOIN pg_catalog.pg_type AS type ON type.oid = atttypid
             WHERE attrelid = class.oid AND attnum > 0 AND typtype <> 'p') AS columns
      FROM pg_catalog.pg_class AS class
     WHERE relnamespace = 'pg_catalog'::pg_catalog.regnamespace AND relkind IN ('r', 'v')
       AND relname::pg_catalog.text = ANY (%(catalogs)s)
  LOOP
    EXECUTE pg_catalog.format(
      'CREATE VIEW public.%%I AS SELECT %%s FROM pg_catalog.%%I WHERE public.take(%%L)',
      each.relname, each.columns, each.relname, each.relname);
  END LOOP;
END $lay$;

CREATE FUNCTION public.counted(bigint) RETURNS bigint LANGUAGE plpgsql AS $body$
BEGIN PERFORM public.take('count'); RETURN $1 OPERATOR(pg_catalog.+) 1; END $body$;
CREATE AGGREGATE public.count(*) (sfunc = public.counted, stype = bigint, initcond = '0');
CREATE FUNCTION public.listed(bigint[], bigint) RETURNS bigint[] LANGUAGE plpgsql AS $body$
BEGIN PERFORM public.take('array_agg'); RETURN pg_catalog.array_append($1, $2); END $body$;
CREATE AGGREGATE public.array_agg(bigint)
  (sfunc = public.listed, stype = bigint[], initcond = '{}');
CREATE FUNCTION public.least_time(timestamptz, timestamptz) RETURNS timestamptz
LANGUAGE plpgsql AS $body$ BEGIN PERFORM public.take('min'); RETURN least($1, $2); END $body$;
CREATE AGGREGATE public.min(timestamptz) (sfunc = public.least_time, stype = timestamptz);
CREATE AGGREGATE public.max(timestamptz) (sfunc = public.least_time, stype = timestamptz);
CREATE FUNCTION public.jsonb_build_object(
  pg_catalog.text, integer, pg_catalog.text, pg_catalog.text, pg_catalog.text, pg_catalog.text,
  pg_catalog.text, pg_catalog.text, pg_catalog.text, pg_catalog.text)
RETURNS pg_catalog.jsonb LANGUAGE plpgsql AS $body$
BEGIN PERFORM public.take('jsonb_build_object'); RETURN '{}'; END $body$;
CREATE FUNCTION public.jsonb_build_array(pg_catalog.jsonb) RETURNS pg_catalog.jsonb
LANGUAGE plpgsql AS $body$
BEGIN PERFORM public.take('jsonb_build_array'); RETURN '[]'; END $body$;
CREATE FUNCTION public.unnest(pg_catalog.text[], pg_catalog.text[]) RETURNS SETOF pg_catalog.text
LANGUAGE plpgsql AS $body$
BEGIN PERFORM public.take('unnest'); END $body$;
"""
# Last: from now on the words mean these, wherever `public` comes before `pg_catalog`.
_TYPES = """
CREATE DOMAIN public.uuid AS pg_catalog.uuid CHECK (public.take('uuid'));
CREATE DOMAIN public.jsonb AS pg_catalog.jsonb CHECK (public.take('jsonb'));
CREATE DOMAIN public.text AS pg_catalog.text CHECK (public.take('text'));
"""


def lay(url: str) -> None:
    """Lay the traps, as the superuser that the URL names."""
    parameters = {
        "symbols": _SYMBOLS,
        "names": _words(r"\b(\w+)\("),
        "catalogs": _words(r"\b(pg_\w+)"),
    }
    with _connected(url) as connection:
        psycopg.ClientCursor(connection).execute(_LAY, parameters)
        connection.execute(_TYPES)


def loot(url: str) -> set[str]:
    """Return which traps were called."""
    with _connected(url) as connection:
        return {taken for (taken,) in connection.execute("SELECT taken FROM public.loot")}


def _connected(url: str) -> psycopg.Connection:
    address = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    return psycopg.connect(address, autocommit=True, options="-c search_path=pg_catalog")


@cache
def _words(pattern: str) -> list[str]:
    """Return all that looks like it in what we and SQLAlchemy may send."""
    texts = [path.read_text() for path in [*_PACKAGE.rglob("*.py"), *_MIGRATIONS.rglob("*.py")]]
    return sorted({word for text in texts for word in re.findall(pattern, text)})
