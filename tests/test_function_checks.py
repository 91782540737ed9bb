"""`xclaim doctor` names each function, role and right that is not as it would be made today."""

from __future__ import annotations

import secrets
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
from click.testing import CliRunner
from sqlalchemy import Engine, text

from tests.capable import Shop, as_administrator, shop
from xclaim import create_engine
from xclaim.cli.app import group
from xclaim.operations import migrate, ordering
from xclaim.operations.doctor import Finding, Level, examine
from xclaim.operations.grants import Kind, plan
from xclaim.sql.statements.capabilities import PARTS, role_of

VERBS = ["push", "claim", "ack"]


@pytest.fixture(scope="module")
def founded(postgresql_server: str) -> Iterator[Shop]:
    with shop(postgresql_server) as there:
        yield there


@pytest.fixture
def place(founded: Shop) -> Iterator[Shop]:
    founded.make("packing", verbs=VERBS)
    yield founded
    founded.drop("packing")


@pytest.fixture
def engine(fresh_postgresql_url: str) -> Iterator[Engine]:
    made = create_engine(fresh_postgresql_url)
    yield made
    made.dispose()


def found(engine: Engine, name: str, schema: str | None = None) -> list[Finding]:
    return [each for each in examine(engine, schema=schema) if each.name == name]


def test_what_a_migration_has_made_is_as_it_would_be_made(engine: Engine) -> None:
    (functions,) = found(engine, "functions")

    assert functions.level is Level.OK
    assert found(engine, "capabilities") == []


UPGRADE = 'run `xclaim upgrade` as "postgres"'
OF_VERBS = {
    "DROP FUNCTION xclaim_withdraw": (
        "xclaim_withdraw is missing",
        f"{UPGRADE}, and `xclaim grants` for the roles that are to call it",
    ),
    "CREATE OR REPLACE FUNCTION xclaim_delete(ids bigint[], of_status text) RETURNS bigint[]"
    " LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp"
    " AS 'BEGIN RETURN NULL; END'": ("xclaim_delete differs in body", UPGRADE),
    "ALTER FUNCTION xclaim_delete SECURITY INVOKER": (
        "xclaim_delete differs in rights (SECURITY DEFINER)",
        UPGRADE,
    ),
    "DROP FUNCTION xclaim_ack; CREATE FUNCTION xclaim_ack(wrong bigint, token uuid) RETURNS text"
    " LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET plan_cache_mode ="
    " force_generic_plan SET enable_seqscan = off SET jit = off AS 'BEGIN END';"
    " REVOKE ALL ON FUNCTION xclaim_ack FROM PUBLIC": ("xclaim_ack differs in body", UPGRADE),
    "CREATE FUNCTION xclaim_ack(id text, token uuid) RETURNS void LANGUAGE sql AS ''": (
        "postgres has put a function beside xclaim_ack",
        'DROP FUNCTION "public".xclaim_ack(text, uuid)',
    ),
    "ALTER FUNCTION xclaim_ack SECURITY DEFINER": (
        "xclaim_ack differs in rights (SECURITY INVOKER)",
        UPGRADE,
    ),
    "ALTER FUNCTION xclaim_ack RESET search_path": (
        "xclaim_ack differs in settings",
        UPGRADE,
    ),
    "ALTER FUNCTION xclaim_ack SET search_path = mine": (
        "xclaim_ack differs in settings",
        UPGRADE,
    ),
    "CREATE OR REPLACE FUNCTION xclaim_ack(id bigint, token uuid) RETURNS void"
    " LANGUAGE plpgsql AS 'BEGIN END'": (
        "xclaim_ack differs in body, settings",
        UPGRADE,
    ),
    "GRANT EXECUTE ON FUNCTION xclaim_ack TO PUBLIC": (
        "everybody may execute xclaim_ack",
        'REVOKE ALL ON FUNCTION "public".xclaim_ack(bigint, uuid) FROM PUBLIC',
    ),
    "ALTER FUNCTION xclaim_ack OWNER TO pg_monitor": (
        "xclaim_ack belongs to pg_monitor",
        'ALTER FUNCTION "public".xclaim_ack(bigint, uuid) OWNER TO "postgres"',
    ),
}


@pytest.mark.parametrize("change", OF_VERBS)
def test_a_function_of_a_verb_that_differs_is_named(engine: Engine, change: str) -> None:
    with engine.begin() as connection:
        connection.execute(text(change))

    (finding,) = found(engine, "functions")

    said, remedy = OF_VERBS[change]
    assert finding.level is not Level.OK
    assert finding.found == said
    assert finding.remedy == remedy
    if remedy.startswith("run"):
        migrate.upgrade(engine)
    else:
        with engine.begin() as connection:
            connection.execute(text(remedy))
    assert [each.level for each in found(engine, "functions")] == [Level.OK]


def test_who_may_call_a_function_still_may_when_it_was_made_anew(engine: Engine) -> None:
    with engine.begin() as connection:
        for statement in (
            "GRANT EXECUTE ON FUNCTION xclaim_delete TO pg_read_all_stats",
            "ALTER FUNCTION xclaim_delete RESET search_path",
            "ALTER FUNCTION xclaim_delete OWNER TO pg_monitor",
            "DROP FUNCTION xclaim_ack",
            (
                "CREATE FUNCTION xclaim_ack(wrong bigint, token uuid) RETURNS text LANGUAGE plpgsql"
                " AS 'BEGIN END'"
            ),
            "GRANT EXECUTE ON FUNCTION xclaim_ack TO pg_read_all_stats",
        ):
            connection.execute(text(statement))

    migrate.upgrade(engine)

    with engine.connect() as connection:
        (ours,) = connection.execute(
            text(
                "SELECT bool_and(has_function_privilege('pg_read_all_stats', oid, 'EXECUTE')),"
                " bool_or(has_function_privilege('pg_signal_backend', oid, 'EXECUTE'))"
                " FROM pg_proc WHERE proname IN ('xclaim_ack', 'xclaim_delete')"
            )
        )
    assert tuple(ours) == (True, False)
    assert [each.level for each in found(engine, "functions")] == [Level.OK]


def test_what_an_owner_has_under_the_same_name_is_not_taken_for_ours(engine: Engine) -> None:
    role = f"xclaim_test_owner_{secrets.token_hex(4)}"
    with engine.begin() as connection:
        connection.execute(text(f"CREATE ROLE {role}"))
        for table in ("xclaim_message", "xclaim_alembic_version"):
            connection.execute(text(f"ALTER TABLE {table} OWNER TO {role}"))
        for function in ("xclaim_delete", "xclaim_ack"):
            connection.execute(text(f"DROP FUNCTION {function}"))
        # As another xclaim would have left them, with types of its own.
        for statement in (
            "CREATE FUNCTION xclaim_delete(ids text) RETURNS text LANGUAGE sql AS 'SELECT 1::text'",
            "CREATE FUNCTION xclaim_ack(id text) RETURNS text LANGUAGE sql AS 'SELECT 1::text'",
            f"ALTER FUNCTION xclaim_delete(text) OWNER TO {role}",
            f"ALTER FUNCTION xclaim_ack(text) OWNER TO {role}",
            "GRANT EXECUTE ON FUNCTION xclaim_ack(text) TO pg_read_all_stats",
        ):
            connection.execute(text(statement))

    migrate.upgrade(engine)

    with engine.begin() as connection:
        ours = text(
            "SELECT proname::text, pg_get_userbyid(proowner)::text AS owner,"
            " has_function_privilege('pg_read_all_stats', oid, 'EXECUTE') AS is_granted,"
            " has_function_privilege('pg_signal_backend', oid, 'EXECUTE') AS is_public"
            " FROM pg_proc WHERE proname IN ('xclaim_delete', 'xclaim_ack')"
            " AND proargtypes[0] <> 'text'::regtype ORDER BY 1"
        )
        assert [tuple(row) for row in connection.execute(ours)] == [
            ("xclaim_ack", role, True, False),
            ("xclaim_delete", role, False, False),
        ]
        connection.execute(text(f"REASSIGN OWNED BY {role} TO postgres"))
        connection.execute(text(f"DROP OWNED BY {role}"))
        connection.execute(text(f"DROP ROLE {role}"))


def test_the_functions_of_a_schema_with_another_name_are_made_anew(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("ALTER SCHEMA public RENAME TO shop"))
    assert Level.OK not in [each.level for each in found(engine, "functions", "shop")]

    migrate.upgrade(engine, schema="shop")

    assert [each.level for each in found(engine, "functions", "shop")] == [Level.OK]
    with engine.begin() as connection:
        connection.execute(text("SELECT shop.xclaim_push('orders', '1')"))
        assert connection.scalar(text("SELECT count(*) FROM shop.xclaim_claim('orders')")) == 1


def test_an_upgrade_leaves_the_functions_of_others_alone(engine: Engine) -> None:
    role = f"xclaim_test_owner_{secrets.token_hex(4)}"
    with engine.begin() as connection:
        connection.execute(text(f"CREATE ROLE {role} LOGIN PASSWORD 'x'"))
        for table in ("xclaim_message", "xclaim_alembic_version"):
            connection.execute(text(f"ALTER TABLE {table} OWNER TO {role}"))
    handed_to = create_engine(engine.url.set(username=role, password="x"))

    migrate.upgrade(handed_to)

    (first, *_) = found(engine, "functions")
    assert first.found.endswith("belongs to postgres")
    migrate.upgrade(engine)
    assert [each.level for each in found(engine, "functions")] == [Level.OK]
    handed_to.dispose()
    with engine.begin() as connection:
        connection.execute(text(f"REASSIGN OWNED BY {role} TO postgres"))
        connection.execute(text(f"DROP OWNED BY {role}"))
        connection.execute(text(f"DROP ROLE {role}"))


def test_a_capability_that_is_as_it_was_made_is_shown(place: Shop) -> None:
    (finding,) = found(place.owner, "capabilities")

    assert finding.level is Level.OK
    assert finding.found == "'packing': push, claim, ack in 'orders'"


@pytest.mark.parametrize("before", [False, True], ids=["enabled after", "enabled before"])
def test_no_right_is_missing_or_more_where_lines_are_enabled(
    founded: Shop, *, before: bool
) -> None:
    if before:
        ordering.enable(founded.owner)
    founded.make("packing", verbs=[*PARTS])
    if not before:
        ordering.enable(founded.owner)

    levels = [each.level for each in examine(founded.owner) if each.name in _OF_RIGHTS]

    assert levels == [Level.OK] * 3
    ordering.disable(founded.owner)
    founded.drop("packing")


@contextmanager
def quoting_all(place: Shop) -> Iterator[None]:
    """Show all names quoted to whoever connects to the database."""
    change = "ALTER DATABASE {{}} {} quote_all_identifiers"
    as_administrator(place.administrator, f"{change.format('SET')} = on", place.database)
    place.owner.dispose()
    try:
        yield
    finally:
        as_administrator(place.administrator, change.format("RESET"), place.database)
        place.owner.dispose()


def levels_of_rights(place: Shop) -> list[Level]:
    return [each.level for each in examine(place.owner) if each.name in _OF_RIGHTS]


def test_where_all_names_are_shown_quoted_all_is_as_it_was_made(founded: Shop) -> None:
    with quoting_all(founded):
        is_new, is_newer = (ordering.enable(founded.owner) for _ in range(2))
        for _ in range(2):
            founded.make("packing", verbs=[*PARTS])
        migrate.upgrade(founded.owner)
        quoted = levels_of_rights(founded)
    plain = levels_of_rights(founded)

    with quoting_all(founded):
        is_gone = ordering.disable(founded.owner)
        founded.drop("packing")

    assert (is_new, is_newer, is_gone) == (True, False, True)
    assert (quoted, plain) == ([Level.OK] * 3, [Level.OK] * 3)


_OF_RIGHTS = {"capabilities", "functions", "ordering"}
AGAIN = "run `xclaim grants capability packing --queue orders --verbs push,claim,ack --apply`"
OF_CAPABILITIES = {
    "DROP FUNCTION packing.ack": ("ack is missing", AGAIN),
    "ALTER FUNCTION packing.ack SECURITY INVOKER": (
        "ack differs in rights (SECURITY DEFINER)",
        AGAIN,
    ),
    "ALTER FUNCTION packing.ack SET search_path = mine": ("ack differs in settings", AGAIN),
    "ALTER FUNCTION packing.ack STABLE": ("ack differs in volatility", AGAIN),
    "CREATE OR REPLACE FUNCTION packing.ack(id bigint, token uuid) RETURNS void LANGUAGE plpgsql"
    " SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS 'BEGIN END'": (
        "ack differs in body",
        AGAIN,
    ),
    "ALTER FUNCTION packing.ack OWNER TO {owner}": ("ack differs in owner", AGAIN),
    "GRANT EXECUTE ON FUNCTION packing.ack TO PUBLIC": (
        "everybody may execute ack",
        'REVOKE ALL ON FUNCTION "packing"."ack"(bigint, uuid) FROM PUBLIC',
    ),
    "GRANT EXECUTE ON FUNCTION packing.ack TO pg_monitor WITH GRANT OPTION": (
        "pg_monitor may give ack to others",
        'REVOKE ALL ON FUNCTION "packing"."ack"(bigint, uuid) FROM "pg_monitor" CASCADE',
    ),
    "CREATE FUNCTION packing.mine() RETURNS void LANGUAGE sql AS ''": (
        "mine is not of the capability",
        'DROP FUNCTION "packing"."mine"()',
    ),
    "GRANT CREATE ON SCHEMA packing TO PUBLIC": (
        "PUBLIC may create objects in the schema",
        'REVOKE CREATE ON SCHEMA "packing" FROM PUBLIC',
    ),
    "ALTER SCHEMA packing OWNER TO postgres": (
        "the schema belongs to postgres",
        'ALTER SCHEMA "packing" OWNER TO "{owner}"',
    ),
    "ALTER ROLE {consumer} LOGIN": (
        "the role {consumer} may log in or has other attributes",
        'ALTER ROLE "{consumer}" NOLOGIN',
    ),
    "GRANT {consumer} TO postgres": (
        "postgres is a member of the role {consumer}, and can do what it can",
        'REVOKE "{consumer}" FROM "postgres"',
    ),
    "GRANT pg_monitor TO {consumer}": (
        "the role {consumer} is a member of pg_monitor",
        'REVOKE "pg_monitor" FROM "{consumer}"',
    ),
    "DROP POLICY xclaim_select_{consumer} ON xclaim_message": (
        "the role {consumer} has other policies",
        AGAIN,
    ),
    "REVOKE UPDATE (status, claimed_by) ON xclaim_message FROM {consumer}": (
        (
            "the role {consumer} lacks UPDATE (claimed_by) on xclaim_message,"
            " UPDATE (status) on xclaim_message"
        ),
        AGAIN,
    ),
    "REVOKE EXECUTE ON FUNCTION xclaim_claim FROM {consumer}": (
        "the role {consumer} lacks EXECUTE on xclaim_claim(text, text, integer, interval, text)",
        AGAIN,
    ),
    "REVOKE SELECT (queue) ON xclaim_queue FROM {consumer}": (
        "the role {consumer} lacks SELECT (queue) on xclaim_queue",
        AGAIN,
    ),
    "DROP POLICY xclaim_select_{consumer} ON xclaim_queue": (
        "the role {consumer} lacks POLICY xclaim_select_{consumer} on xclaim_queue",
        AGAIN,
    ),
    "GRANT DELETE, INSERT (payload) ON xclaim_message TO {consumer}": (
        (
            "the role {consumer} has besides DELETE on xclaim_message,"
            " INSERT (payload) on xclaim_message"
        ),
        AGAIN,
    ),
    "CREATE ROLE {deleter}": (
        "the role {deleter} is left of a verb that it has no more",
        'GRANT "{deleter}" TO CURRENT_USER; DROP OWNED BY "{deleter}"; DROP ROLE "{deleter}"',
    ),
    "ALTER TABLE xclaim_message DISABLE ROW LEVEL SECURITY": (
        "row-level security is off, and a token of another queue would settle there",
        'ALTER TABLE "public".xclaim_message ENABLE ROW LEVEL SECURITY',
    ),
    "CREATE POLICY everybody ON xclaim_message USING (true)": (
        "the role {consumer} has more than it was granted, by the policy everybody",
        "revoke that from everybody",
    ),
}


@pytest.mark.parametrize("change", OF_CAPABILITIES)
def test_what_differs_of_a_capability_is_named_and_mended(place: Shop, change: str) -> None:
    names = {
        "owner": str(place.owner.url.username),
        "consumer": role_of("packing", "consumer", place.database),
        "deleter": role_of("packing", "deleter", place.database),
    }
    said, remedy = (each.format(**names) for each in OF_CAPABILITIES[change])
    with place.administrator.begin() as connection:
        for statement in ("SET search_path = public", change.format(**names)):
            connection.execute(text(statement))

    findings = found(place.owner, "capabilities")

    assert Level.OK not in [each.level for each in findings]
    assert f"in 'packing' {said}" in [each.found for each in findings]
    (told,) = [each.remedy for each in findings if each.found == f"in 'packing' {said}"]
    assert remedy in str(told)
    mend(place, str(told))
    assert [each.level for each in found(place.owner, "capabilities")] == [Level.OK]


def mend(place: Shop, remedy: str) -> None:
    if remedy.startswith("run `xclaim grants"):
        place.make("packing", verbs=VERBS, by=place.administrator)
    elif remedy == "revoke that from everybody":
        as_administrator(place.administrator, "DROP POLICY everybody ON public.xclaim_message")
    else:
        as_administrator(place.administrator, remedy)


def test_the_schema_of_somebody_else_is_named_and_not_adopted(founded: Shop) -> None:
    mallory = founded.person("mallory")
    as_administrator(
        founded.administrator, "GRANT CREATE ON DATABASE {} TO {}", founded.database, mallory
    )
    comment = 'xclaim capability {"queue": "orders", "verbs": ["claim"], "schema": "public"}'
    for statement in (
        "CREATE SCHEMA evil",
        f"COMMENT ON SCHEMA evil IS '{comment}'",
        "CREATE FUNCTION evil.claim() RETURNS void LANGUAGE sql SECURITY DEFINER AS ''",
    ):
        founded.run(mallory, statement)

    (finding,) = found(founded.owner, "capabilities")

    assert finding.level is Level.PROBLEM
    assert f"is no capability of ours: the schema belongs to {mallory}" in finding.found
    assert "OWNER TO" not in str(finding.remedy)
    as_administrator(founded.administrator, "DROP OWNED BY {}", mallory)


def test_a_capability_of_a_schema_with_another_name_is_named_and_made_anew(founded: Shop) -> None:
    migrate.upgrade(founded.owner, schema="shop")
    founded.make("packing", verbs=VERBS, schema="shop")
    as_administrator(founded.administrator, "ALTER SCHEMA shop RENAME TO store")
    migrate.upgrade(founded.owner, schema="store")

    (finding,) = found(founded.owner, "capabilities", schema="store")
    founded.drop("packing", schema="store")
    founded.make("packing", verbs=VERBS, schema="store")

    assert finding.level is Level.WARNING
    assert "look for the table in 'shop', where there is none" in finding.found
    assert "--drop --apply" in str(finding.remedy)
    assert [each.level for each in found(founded.owner, "capabilities", "store")] == [Level.OK]
    founded.drop("packing", schema="store")


def test_a_capability_of_a_schema_that_the_role_may_not_use_hides_no_other(
    founded: Shop,
) -> None:
    migrate.upgrade(founded.owner, schema="closed")
    founded.make("unpacking", verbs=VERBS, schema="closed")
    founded.make("packing", verbs=VERBS)
    person = founded.person()
    with founded.owner.begin() as connection:
        plan(connection, Kind.OBSERVER, person).apply(connection)
    url = founded.owner.url.set(username=person, password="hunter2")
    looked = create_engine(url.render_as_string(hide_password=False))

    (finding,) = found(looked, "capabilities")

    looked.dispose()
    assert finding.level is Level.OK
    founded.drop("packing")
    founded.drop("unpacking", schema="closed")


def test_a_capability_of_a_database_with_another_name_is_made_anew(postgresql_server: str) -> None:
    with shop(postgresql_server) as there:
        person = there.person()
        there.make("packing", verbs=VERBS, to=[person])
        old, new = there.database, f"{there.database}_new"
        with renamed(postgresql_server, there, new) as here:
            findings = found(here.owner, "capabilities")
            here.make("packing", verbs=VERBS)

            assert [each.level for each in found(here.owner, "capabilities")] == [Level.OK]
            assert here.run(person, "SELECT packing.claim()") == []
            with here.administrator.connect() as connection:
                left = text("SELECT count(*) FROM pg_roles WHERE rolname LIKE :name")
                assert connection.scalar(left, {"name": f"packing_%_in_{old}"}) == 0
            here.drop("packing")
        former = role_of("packing", "consumer", old)
        said = f"the role {former} is of a former name of the database, or of its original"
        assert f"in 'packing' {said}" in [each.found for each in findings]


def test_a_capability_in_a_copy_of_the_database_is_made_anew_and_dropped(
    postgresql_server: str,
) -> None:
    with shop(postgresql_server) as there:
        person = there.person()
        there.make("packing", verbs=VERBS, to=[person])
        with copied(postgresql_server, there) as here:
            here.make("packing", verbs=VERBS)

            assert [each.level for each in found(here.owner, "capabilities")] == [Level.OK]
            assert here.run(person, "SELECT packing.claim()") == []
            here.drop("packing")
        assert there.run(person, "SELECT packing.claim()") == []
        assert [each.level for each in found(there.owner, "capabilities")] == [Level.OK]
        there.drop("packing")


@contextmanager
def copied(server: str, place: Shop) -> Iterator[Shop]:
    """Yield the same place in a copy of its database."""
    name = f"{place.database}_copy"
    engines = [place.administrator, place.owner]
    for engine in engines:
        engine.dispose()
    others = [create_engine(each.url.set(database=name)) for each in engines]
    administrator = create_engine(server)
    with administrator.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text(f"CREATE DATABASE {name} TEMPLATE {place.database}"))
        try:
            yield replace(place, administrator=others[0], owner=others[1])
        finally:
            for other in others:
                other.dispose()
            connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    administrator.dispose()


@contextmanager
def renamed(server: str, place: Shop, name: str) -> Iterator[Shop]:
    """Yield the same place while its database has another name."""
    engines = [place.administrator, place.owner]
    others = [create_engine(each.url.set(database=name)) for each in engines]
    administrator = create_engine(server)
    try:
        rename(administrator, place.database, name, engines)
        yield replace(place, administrator=others[0], owner=others[1])
    finally:
        rename(administrator, name, place.database, others)
        administrator.dispose()


def rename(administrator: Engine, old: str, new: str, engines: list[Engine]) -> None:
    for engine in engines:
        engine.dispose()
    with administrator.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text(f"ALTER DATABASE {old} RENAME TO {new}"))


def test_the_command_that_mends_a_capability_names_the_schema(
    founded: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = founded.owner.url.render_as_string(hide_password=False)
    monkeypatch.setenv("XCLAIM_DATABASE_URL", url)
    migrate.upgrade(founded.owner, schema="other")
    founded.make("billing", verbs=VERBS, schema="other")
    with founded.owner.begin() as connection:
        connection.execute(text("DROP FUNCTION billing.ack"))

    (finding,) = found(founded.owner, "capabilities", schema="other")
    command = str(finding.remedy).removeprefix("run `").removesuffix("`")
    done = CliRunner().invoke(group, shlex.split(command)[1:])

    assert done.exit_code == 0, done.output
    (mended,) = found(founded.owner, "capabilities", schema="other")
    assert mended.level is Level.OK
    founded.drop("billing", schema="other")
