"""What `xclaim grants capability` prints and runs: names stay data, less narrows, nothing stays."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import Any

import pytest
from psycopg import errors
from sqlalchemy import create_engine as plain_engine
from sqlalchemy import text

from tests.capable import Shop, as_administrator, roles_of, shop
from tests.test_grant_statements import HOSTILE
from xclaim import InvalidArgumentError, Queue, create_engine
from xclaim.operations import capabilities, migrate, ordering
from xclaim.sql.statements.capabilities import role_of

CATALOG = """
SELECT proname, concat_ws('|', proowner::regrole, proacl, prosrc, prosecdef, proconfig)
  FROM pg_proc WHERE pronamespace = 'packing'::regnamespace
UNION ALL SELECT nspname, concat_ws('|', nspacl, nspowner::regrole, obj_description(oid))
  FROM pg_namespace WHERE nspname = 'packing'
UNION ALL SELECT relname, concat_ws('|', relacl, relrowsecurity)
  FROM pg_class WHERE relname LIKE 'xclaim%'
UNION ALL SELECT attname, attacl::text FROM pg_attribute
 WHERE attrelid = 'xclaim_message'::regclass AND attacl IS NOT NULL
UNION ALL SELECT policyname, concat_ws('|', roles, cmd, qual, with_check) FROM pg_policies
UNION ALL SELECT member::regrole::text, concat(roleid::regrole, admin_option) FROM pg_auth_members
 WHERE roleid::regrole::text LIKE '%_in_' || current_database()
ORDER BY 1, 2
"""


@pytest.fixture(scope="module", params=["postgresql_server", "postgresql16_server"])
def founded(request: pytest.FixtureRequest) -> Iterator[Shop]:
    with shop(request.getfixturevalue(request.param)) as there:
        yield there


@pytest.fixture
def place(founded: Shop) -> Iterator[Shop]:
    yield founded
    with founded.administrator.begin() as connection:
        connection.execute(text("TRUNCATE xclaim_message"))
        named = text("SELECT nspname FROM pg_namespace WHERE obj_description(oid) LIKE 'xclaim %'")
        for name in connection.scalars(named).all():
            capabilities.plan_drop(connection, name).apply(connection)


def catalog(place: Shop) -> list[Any]:
    with place.administrator.connect() as connection:
        return list(connection.execute(text(CATALOG)))


def verbs_of(place: Shop, name: str = "packing") -> list[str]:
    named = text(
        "SELECT proname FROM pg_proc WHERE pronamespace = (SELECT oid FROM pg_namespace"
        " WHERE nspname = :name) ORDER BY 1"
    )
    with place.administrator.connect() as connection:
        return list(connection.scalars(named, {"name": name}))


def script_of(place: Shop, *given: Any, **options: Any) -> str:
    with place.owner.connect() as connection:
        return capabilities.plan(connection, *given, **options).script


def run_script(place: Shop, script: str, before: str = "", by: Any = None) -> None:
    with (by or place.owner).connect() as connection:
        driver: Any = connection.connection.driver_connection
        driver.execute(before + script)
        connection.connection.invalidate()


def test_made_twice_it_is_the_same(place: Shop) -> None:
    person = place.person()
    place.make("packing", to=[person])
    first = catalog(place)

    again = place.make("packing", to=[person])

    assert catalog(place) == first
    assert again["created"] is False


def test_what_is_printed_is_what_is_run(place: Shop) -> None:
    person = place.person()
    place.make("packing", to=[person])
    applied = catalog(place)
    script = script_of(
        place, "packing", "orders", ["claim", "ack", "ack_many", "release", "extend"]
    )

    run_script(place, script, before="SET standard_conforming_strings = off; ")

    assert catalog(place) == applied


def test_who_runs_it_is_a_member_of_no_role_afterwards(place: Shop) -> None:
    owner = str(place.owner.url.username)
    place.make("packing")

    ties = [row for row in catalog(place) if row[0] == owner]

    # On 16 and later who creates a role may give membership away: that has ADMIN, and no more.
    for tie in ties:
        assert tie[1].endswith("t")
    for role in roles_of(place):
        with pytest.raises(errors.InsufficientPrivilege), place.owner.connect() as connection:
            driver: Any = connection.connection.driver_connection
            driver.execute(f'SET ROLE "{role}"')


def test_of_what_a_superuser_made_the_owner_of_the_table_gives_the_functions(place: Shop) -> None:
    place.make("packing")
    by_owner = [row for row in catalog(place) if row[0] in ("ack", "claim", "packing")]
    place.drop("packing")
    person = place.person()

    place.make("packing", by=place.administrator)
    by_superuser = [row for row in catalog(place) if row[0] in ("ack", "claim", "packing")]
    with place.owner.begin() as connection:
        connection.execute(text(f"GRANT USAGE ON SCHEMA packing TO {person}"))
        connection.execute(text(f"GRANT EXECUTE ON FUNCTION packing.claim TO {person}"))
    allowed = place.run(person, "SELECT packing.claim()")
    with place.owner.begin() as connection:
        connection.execute(text(f"REVOKE EXECUTE ON FUNCTION packing.claim FROM {person}"))

    assert by_superuser == by_owner
    assert allowed == []
    with pytest.raises(errors.InsufficientPrivilege):
        place.run(person, "SELECT packing.claim()")


def test_who_has_taken_the_owners_role_can_run_it(place: Shop) -> None:
    owner = str(place.owner.url.username)
    person = place.person("dba")
    as_administrator(place.administrator, "GRANT {} TO {}", owner, person)
    as_administrator(place.administrator, "ALTER ROLE {} NOINHERIT", person)
    script = script_of(place, "packing", "orders", ["claim", "push", "prune"])

    with place.session(person) as session:
        session.execute(f"SET ROLE {owner}")
        session.execute(script)
        (role,) = session.execute("SELECT current_user").fetchone()

    place.make("packing", verbs=["claim", "push", "prune"])
    assert (role, verbs_of(place)) == (owner, ["claim", "prune", "push"])


def test_fewer_verbs_are_fewer_functions_and_roles(place: Shop) -> None:
    place.make("packing", verbs=["push", "claim", "ack", "prune", "counts"])
    wide = roles_of(place)

    place.make("packing", verbs=["claim", "ack"])

    assert verbs_of(place) == ["ack", "claim"]
    assert len(wide) == 4
    assert roles_of(place) == [role_of("packing", "consumer", place.database)]


def test_who_could_call_a_verb_that_stays_still_can(place: Shop) -> None:
    person = place.person()
    place.make("packing", verbs=["claim", "ack"], to=[person])

    place.make("packing", verbs=["claim", "push"])

    assert place.run(person, "SELECT packing.claim()") == []
    with pytest.raises(errors.InsufficientPrivilege):
        place.run(person, "SELECT packing.push('1')")


def test_a_function_that_takes_more_by_now_is_made_anew_for_the_same_people(place: Shop) -> None:
    person = place.person()
    place.make("packing", verbs=["counts", "expire"], to=[person])
    with place.owner.connect() as connection:
        (body,) = connection.exec_driver_sql(
            "SELECT prosrc FROM pg_proc WHERE proname = 'xclaim_expire'"
        ).one()
        driver: Any = connection.connection.driver_connection
        driver.execute("DROP FUNCTION public.xclaim_expire")
        more = "queue text, n integer DEFAULT 1000, hurry boolean DEFAULT false"
        driver.execute(
            f"CREATE FUNCTION public.xclaim_expire({more}) RETURNS bigint LANGUAGE plpgsql"
            f" SET search_path = pg_catalog, pg_temp AS $body${body}$body$"
        )
        driver.commit()

    place.make("packing", verbs=["counts", "expire"])
    given = place.run(person, "SELECT packing.expire(5, hurry => true)")

    assert given == [(0,)]
    with place.owner.begin() as connection:
        connection.exec_driver_sql("DROP FUNCTION public.xclaim_expire")
        place_of = "CREATE FUNCTION public.xclaim_expire(queue text, n integer DEFAULT 1000)"
        connection.exec_driver_sql(
            f"{place_of} RETURNS bigint LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp"
            f" AS $body${body.replace('%', '%%')}$body$"
        )


def test_nothing_of_it_stays(place: Shop) -> None:
    before = catalog_without_packing(place)
    place.make("packing", verbs=["push", "claim", "redrive", "prune", "peek", "counts"])

    dropped = place.drop("packing")

    assert dropped == {"capability": "packing", "dropped": True}
    assert roles_of(place) == []
    assert catalog_without_packing(place) == before


def catalog_without_packing(place: Shop) -> list[Any]:
    """Return what the table has of rights, but for row-level security: that stays on."""
    with place.owner.begin() as connection:
        for table in ("xclaim_message", "xclaim_queue"):
            connection.execute(text(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY"))
    with place.administrator.connect() as connection:
        sql = CATALOG.replace("'packing'::regnamespace", "to_regnamespace('packing')")
        return list(connection.execute(text(sql)))


def test_what_is_printed_drops_it_as_well(place: Shop) -> None:
    place.make("packing", verbs=["push", "claim"])
    with place.owner.connect() as connection:
        script = capabilities.plan_drop(connection, "packing").script

    run_script(place, script)

    assert (verbs_of(place), roles_of(place)) == ([], [])


@pytest.mark.parametrize("name", [*HOSTILE, "UPPER Case", "select", "x" * 63, "é" * 31, "a.b"])
def test_names_of_capabilities_queues_and_schemas_stay_data(place: Shop, name: str) -> None:
    schema = f"of {name}".encode()[:63].decode(errors="ignore")
    migrate.upgrade(place.owner, schema=schema)
    person = place.person()
    verbs = ["push", "claim", "ack", "prune", "counts"]

    with place.owner.begin() as connection:
        made = capabilities.plan(connection, name, name, verbs, to=[person], schema=schema)
        made.apply(connection)
    queue = Queue(name, place.owner, schema=schema)
    home = '"' + name.replace('"', '""') + '"'
    with place.session(person) as session:
        session.execute(f"SELECT {home}.push('1')".encode())
        ((id_, token),) = session.execute(
            f"SELECT id, token FROM {home}.claim()".encode()
        ).fetchall()
        session.execute(f"SELECT {home}.ack({id_}, '{token}')".encode())
    consumed = queue.counts().consumed
    with place.session(person) as session:
        pruned = session.execute(f"SELECT {home}.prune('0')".encode()).fetchall()

    with place.owner.begin() as connection:
        capabilities.plan_drop(connection, name, schema=schema).apply(connection)
    assert (consumed, pruned) == (1, [(1,)])


def test_with_ordering_keys_a_capability_claims_one_of_each_key_in_its_turn(place: Shop) -> None:
    person = place.person()
    verbs = ["claim", "ack", "prune", "withdraw"]
    place.make("packing", verbs=verbs, to=[person])
    ordering.enable(place.owner)
    place.make("billing", "invoices", verbs=verbs, to=[person])
    for name in ("orders", "invoices"):
        queue = place.queue(name)
        queue.push_many([1, 2, 3], ordering_keys=["a"] * 3, unique_keys=["1", "2", "3"])

    taken, left = {}, {}
    for home in ("packing", "billing"):
        with place.session(person) as session:
            first = session.execute(f"SELECT id, token, payload FROM {home}.claim(n => 9)")
            ((id_, token, payload),) = first.fetchall()
            session.execute(f"SELECT {home}.ack(%s, %s)", (id_, token))
            session.execute(f"SELECT {home}.withdraw('{{2}}')")
            session.execute(f"SELECT {home}.prune('0')")
            second = session.execute(f"SELECT payload FROM {home}.claim(n => 9)").fetchall()
        taken[home], left[home] = payload, second
    with place.owner.begin() as connection:
        connection.execute(text("TRUNCATE xclaim_message"))
    place.drop("packing")
    ordering.disable(place.owner)

    assert taken == {"packing": 1, "billing": 1}
    assert left == {"packing": [(3,)], "billing": [(3,)]}


def test_a_claim_by_capability_reads_by_the_indexes(place: Shop) -> None:
    person = place.person()
    place.make("packing", to=[person])
    with place.owner.begin() as connection:
        connection.execute(text("ALTER TABLE xclaim_message SET (autovacuum_enabled = off)"))
        connection.execute(
            text(
                "SELECT count(*) FROM xclaim_push_many('orders', (SELECT array_agg(to_jsonb(n))"
                " FROM generate_series(1, 20000) AS n))"
            )
        )
    claim = "SELECT * FROM packing.claim('me', claim_key => 'k')"

    with place.session(person) as session:
        session.execute(claim)
        explained = session.execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {claim}")
        ((plans,),) = explained.fetchall()
    blocks = plans[0]["Plan"]["Shared Hit Blocks"] + plans[0]["Plan"]["Shared Read Blocks"]

    assert blocks < 120


def test_two_databases_have_roles_of_their_own() -> None:
    long = "x" * 63

    assert role_of("packing", "consumer", "a") != role_of("packing", "consumer", "b")
    assert role_of(long, "consumer", "a") != role_of(long, "consumer", "b")
    assert len(role_of(long, "maintainer", "a")) <= 63


@pytest.mark.parametrize(
    ("given", "named"),
    [
        (("", "orders", ["claim"]), "schema is empty"),
        (("a\nb", "orders", ["claim"]), "control characters"),
        (("x" * 64, "orders", ["claim"]), "64 bytes long"),
        (("pg_mine", "orders", ["claim"]), "PostgreSQL's own"),
        (("packing", "a\nb", ["claim"]), "queue name"),
        (("packing", "orders", []), "a capability needs verbs"),
        (("packing", "orders", "claim"), "verbs must be a list"),
        (("packing", "orders", ["steal"]), "verb 'steal' is unknown: use push"),
        (("packing", "orders", ["push_row"]), "verb 'push_row' is unknown"),
        (("packing", "orders.dead", ["push"]), "push to 'orders'"),
        (("packing", "orders.dead", ["redrive"]), "make one with redrive for 'orders'"),
        (("public", "orders", ["claim"]), "schema 'public' is there and no capability"),
        (("pg_catalog", "orders", ["claim"]), "PostgreSQL's own"),
    ],
)
def test_a_capability_that_cannot_be_is_refused(place: Shop, given: Any, named: str) -> None:
    with pytest.raises(InvalidArgumentError, match=named), place.owner.begin() as connection:
        capabilities.plan(connection, *given)


def test_a_capability_becomes_none_of_another_queue(place: Shop) -> None:
    place.make("packing", "orders")

    with pytest.raises(InvalidArgumentError, match=r"is for queue 'orders' .*drop it first"):
        place.make("packing", "invoices")


def test_a_role_that_somebody_else_made_runs_no_function(place: Shop) -> None:
    role = role_of("packing", "consumer", place.database)
    place.forget(role)
    as_administrator(place.administrator, "CREATE ROLE {} LOGIN", role)

    with pytest.raises(InvalidArgumentError, match="is there already, and runs no function"):
        place.make("packing")

    as_administrator(place.administrator, "DROP ROLE {}", role)


def test_who_had_the_function_of_another_does_not_get_the_capability(place: Shop) -> None:
    mallory, guest = place.person("mallory"), place.person("guest")
    place.make("packing", verbs=["claim"])
    as_administrator(place.administrator, "GRANT USAGE, CREATE ON SCHEMA packing TO {}", mallory)
    place.run(mallory, "CREATE FUNCTION packing.push() RETURNS void LANGUAGE sql AS ''")
    place.run(mallory, f"GRANT EXECUTE ON FUNCTION packing.push() TO {guest}")
    as_administrator(place.administrator, "GRANT USAGE ON SCHEMA packing TO {}", guest)

    place.make("packing", verbs=["claim", "push"])

    with pytest.raises(errors.InsufficientPrivilege):
        place.run(guest, "SELECT packing.push('1')")
    as_administrator(place.administrator, "REVOKE CREATE ON SCHEMA packing FROM {}", mallory)


@pytest.mark.parametrize("mend", [True, False], ids=["made again", "dropped"])
def test_a_capability_that_has_lost_the_only_function_of_a_role(place: Shop, *, mend: bool) -> None:
    place.make("packing", verbs=["claim", "push"])
    with place.owner.begin() as connection:
        connection.execute(text("DROP FUNCTION packing.push"))

    if mend:
        place.make("packing", verbs=["claim", "push"])
        assert verbs_of(place) == ["claim", "push"]
    place.drop("packing")

    assert (verbs_of(place), roles_of(place)) == ([], [])


def test_a_role_that_somebody_else_made_is_not_dropped_with_it(place: Shop) -> None:
    place.make("packing", verbs=["claim"])
    role = role_of("packing", "producer", place.database)
    as_administrator(place.administrator, "CREATE ROLE {} LOGIN", role)

    place.drop("packing")

    assert (verbs_of(place), roles_of(place)) == ([], [role])
    as_administrator(place.administrator, "DROP ROLE {}", role)


def test_what_is_no_capability_is_not_dropped(place: Shop) -> None:
    for name in ("public", "nothing"):
        with pytest.raises(InvalidArgumentError, match="there is no capability"):
            place.drop(name)


def test_what_others_have_put_into_the_schema_is_not_dropped_with_it(place: Shop) -> None:
    place.make("packing")
    with place.owner.begin() as connection:
        connection.execute(text("CREATE TABLE packing.theirs ()"))

    with pytest.raises(Exception, match="depend"):
        place.drop("packing")
    with place.owner.begin() as connection:
        connection.execute(text("DROP TABLE packing.theirs"))


def test_who_is_to_call_it_and_is_not_there_is_made_without_a_login(place: Shop) -> None:
    role = f"xclaim_test_new_{secrets.token_hex(4)}"
    place.forget(role)

    done = place.make("packing", to=[role, role])

    with place.administrator.connect() as connection:
        logs_in = text("SELECT rolcanlogin FROM pg_roles WHERE rolname = :role")
        assert connection.scalar(logs_in, {"role": role}) is False
    assert done["to"] == [role]


def test_sqlite_has_no_capabilities(sqlite_url: str) -> None:
    engine = create_engine(sqlite_url)

    with (
        pytest.raises(InvalidArgumentError, match=r"SQLite has no roles.*rights of the file"),
        engine.connect() as connection,
    ):
        capabilities.plan(connection, "packing", "orders", ["claim"])

    engine.dispose()


def test_an_engine_of_sqlalchemys_own_will_do(place: Shop) -> None:
    engine = plain_engine(place.owner.url)

    done = place.make("packing", by=engine)

    engine.dispose()
    assert done["created"] is True
