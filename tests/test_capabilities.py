"""A capability is the right to one verb on one queue: whoever has it tries everything else.

Each on a server whose owner is no superuser, as managed ones have it (docs/security.md).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from psycopg import errors
from sqlalchemy import text

from tests.capable import Shop, as_administrator, shop
from xclaim import Claim, Queue, XclaimError
from xclaim.operations.doctor import examine
from xclaim.sql.statements.capabilities import PARTS, role_of

LOST = "XC001"
NO_LEASE = timedelta(0)
ALL_VERBS = {
    "push": "SELECT packing.push('1')",
    "push_many": "SELECT packing.push_many(ARRAY['1']::jsonb[])",
    "claim": "SELECT packing.claim()",
    "ack": "SELECT packing.ack(1, gen_random_uuid())",
    "ack_many": "SELECT packing.ack_many('{}', '{}')",
    "release": "SELECT packing.release(1, gen_random_uuid())",
    "extend": "SELECT packing.extend(1, gen_random_uuid())",
    "expire": "SELECT packing.expire()",
    "redrive": "SELECT packing.redrive()",
    "withdraw": "SELECT packing.withdraw('{key}')",
    "prune": "SELECT packing.prune('0')",
    "peek": "SELECT packing.peek()",
    "counts": "SELECT packing.counts()",
}
# What a capability leaves nobody: all that docs/security.md says the roles of before could do.
HOLES = {
    "read the table": "SELECT id FROM xclaim_message",
    "read tokens": "SELECT claim_token FROM xclaim_message",
    "read what is settled": "SELECT * FROM xclaim_queue_stats",
    "read the settings": "SELECT * FROM xclaim_queue",
    "read the version": "SELECT * FROM xclaim_alembic_version",
    "un-consume": "UPDATE xclaim_message SET status = 'available', consumed_at = NULL",
    "rename who consumed": "UPDATE xclaim_message SET consumed_by = 'me'",
    "count attempts down": "UPDATE xclaim_message SET attempts = 0",
    "hold for ever": "UPDATE xclaim_message SET claim_expires_at = NULL",
    "insert": "INSERT INTO xclaim_message (queue, origin_queue, payload, created_at)"
    " VALUES ('orders', 'orders', '1', now())",
    "delete": "DELETE FROM xclaim_message",
    "truncate": "TRUNCATE xclaim_message",
    "lock rows": "SELECT id FROM xclaim_message FOR UPDATE",
    "lock the table": "BEGIN; LOCK TABLE xclaim_message IN ACCESS SHARE MODE",
    "shut the table": "BEGIN; LOCK TABLE xclaim_message IN ACCESS EXCLUSIVE MODE",
    "copy": "COPY xclaim_message TO STDOUT",
    "call what deletes": "SELECT xclaim_delete(ARRAY[1], 'available')",
    "claim elsewhere": "SELECT xclaim_claim('invoices')",
    "claim here by the function below": "SELECT xclaim_claim('orders')",
    "push elsewhere": "SELECT xclaim_push('invoices', '1')",
    "ack by the function below": "SELECT xclaim_ack(1, gen_random_uuid())",
    "call another capability": "SELECT billing.claim()",
    "create in the schema": "CREATE FUNCTION packing.claim() RETURNS void LANGUAGE sql AS ''",
    "create a table in the schema": "CREATE TABLE packing.mine ()",
    "create in the schema of the table": "CREATE TABLE public.mine ()",
    "replace a function": "CREATE OR REPLACE FUNCTION packing.ack(id bigint, token uuid)"
    " RETURNS void LANGUAGE plpgsql AS 'BEGIN END'",
    "alter a function": "ALTER FUNCTION packing.ack(bigint, uuid) SECURITY INVOKER",
    "set the path of a function": "ALTER FUNCTION packing.ack(bigint, uuid) SET search_path = mine",
    "drop a function": "DROP FUNCTION packing.ack(bigint, uuid)",
    "drop the schema": "DROP SCHEMA packing CASCADE",
    "take the role of the table": "SET ROLE {owner}",
    "take the role that runs it": "SET ROLE {consumer}",
    "become its member": "GRANT {consumer} TO CURRENT_USER",
    "let it log in": "ALTER ROLE {consumer} LOGIN",
    "switch policies off": "ALTER TABLE xclaim_message DISABLE ROW LEVEL SECURITY",
    "make a policy": "CREATE POLICY mine ON xclaim_message USING (true)",
    "make a trigger": "CREATE TRIGGER mine AFTER INSERT ON xclaim_message"
    " FOR EACH ROW EXECUTE FUNCTION xclaim_push_row('orders')",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Staff:
    """A shop with two capabilities beside each other, and who has them."""

    shop: Shop
    packer: str  # may call all that is in `packing`, of the queue `orders`
    clerk: str  # may call all that is in `billing`, of the queue `invoices`

    def run(self, statement: str, *given: Any) -> list[Any]:
        """Run a statement as the packer."""
        return self.shop.run(self.packer, statement, *given)

    def role(self, part: str) -> str:
        """Return the role that runs some of the functions of `packing`."""
        return role_of("packing", part, self.shop.database)


@pytest.fixture(scope="module", params=["postgresql_server", "postgresql16_server"])
def founded(request: pytest.FixtureRequest) -> Iterator[Staff]:
    with shop(request.getfixturevalue(request.param)) as there:
        packer, clerk = there.person("packer"), there.person("clerk")
        there.make("packing", "orders", list(ALL_VERBS), to=[packer])
        there.make("billing", "invoices", list(ALL_VERBS), to=[clerk])
        yield Staff(shop=there, packer=packer, clerk=clerk)


@pytest.fixture
def staff(founded: Staff) -> Staff:
    with founded.shop.owner.begin() as connection:
        connection.execute(text("TRUNCATE xclaim_message"))
    return founded


@contextmanager
def refused() -> Iterator[None]:
    with pytest.raises(errors.InsufficientPrivilege):
        yield


@contextmanager
def failing(state: str) -> Iterator[None]:
    with pytest.raises(psycopg.Error) as caught:
        yield
    assert caught.value.sqlstate == state


def claimed(queue: Queue, **options: Any) -> Claim:
    claim = queue.claim(**options)
    assert claim is not None
    return claim


# What it can.


def test_all_verbs_can_be_had_as_capabilities() -> None:
    assert set(ALL_VERBS) == set(PARTS)


def test_a_capability_does_its_verbs(staff: Staff) -> None:
    ((first,),) = staff.run("SELECT packing.push('{\"id\": 1}', unique_key => 'key')")
    again = staff.run("SELECT packing.push('{\"id\": 1}', unique_key => 'key')")
    many = staff.run("SELECT is_new FROM packing.push_many(ARRAY['2', '3']::jsonb[])")
    seen = staff.run("SELECT payload FROM packing.peek(9)")
    ((id_, token),) = staff.run("SELECT id, token FROM packing.claim()")
    extended = staff.run("SELECT packing.extend(%s, %s) > now()", id_, token)
    staff.run("SELECT packing.ack(%s, %s)", id_, token)
    counted = staff.run("SELECT available, consumed FROM packing.counts()")

    assert (id_, again, many) == (first, [(first,)], [(True,), (True,)])
    assert ([each for (each,) in seen], extended) == ([{"id": 1}, 2, 3], [(True,)])
    assert counted == [(2, 1)]


def test_a_capability_settles_many_and_gives_back(staff: Staff) -> None:
    staff.shop.queue().push_many([1, 2, 3])
    claims = staff.run("SELECT id, token FROM packing.claim(n => 3)")
    ids, tokens = [row[0] for row in claims], [row[1] for row in claims]

    acked = staff.run("SELECT packing.ack_many(%s, %s)", ids[:2], tokens[:2])
    released = staff.run(
        "SELECT queue, attempts FROM packing.release(%s, %s, error => 'bad')", ids[2], tokens[2]
    )

    assert sorted(acked) == [(ids[0],), (ids[1],)]
    assert released == [("orders", 1)]


def test_a_capability_tends_its_queue(staff: Staff) -> None:
    queue = staff.shop.queue()
    queue.push_many([1, 2, 3], unique_keys=["a", "b", "c"], max_attempts=1)
    queue.ack(claimed(queue))
    claimed(queue, lease=NO_LEASE)

    expired = staff.run("SELECT packing.expire()")
    redriven = staff.run("SELECT packing.redrive()")
    pruned = staff.run("SELECT packing.prune('0')")
    withdrawn = staff.run("SELECT packing.withdraw('{a,b,c}')")

    assert (expired, redriven, pruned, withdrawn) == ([(1,)], [(1,)], [(1,)], [(2,)])


def test_the_server_says_who_claimed_and_consumed(staff: Staff) -> None:
    staff.shop.queue().push_many([1, 2])

    ((id_, token),) = staff.run("SELECT id, token FROM packing.claim('somebody else')")
    staff.run("SELECT packing.ack(%s, %s)", id_, token)
    staff.run("SELECT packing.claim()")
    consumed = staff.shop.queue().get(id_)
    with staff.shop.owner.connect() as connection:
        named = text("SELECT claimed_by FROM xclaim_message WHERE status = 'claimed'")
        holder = connection.scalar(named)

    assert consumed is not None
    assert consumed.consumed_by == f"{staff.packer}/somebody else"
    assert str(holder).startswith(f"{staff.packer}/")


def test_a_claim_key_brings_back_the_claims_of_the_same_person_only(staff: Staff) -> None:
    staff.shop.queue().push_many([1, 2])
    other = staff.shop.person("other")
    staff.shop.make("packing", "orders", list(ALL_VERBS), to=[other])
    claim = "SELECT id, attempts FROM packing.claim(%s, claim_key => 'task')"

    first = staff.run(claim, "try 1")
    again = staff.run(claim, "try 2")
    of_other = staff.shop.run(other, claim, "try 3")

    assert again == [(first[0][0], 2)]
    assert of_other == [(first[0][0] + 1, 1)]


def test_a_slash_in_the_name_of_a_person_is_no_part_of_the_key(staff: Staff) -> None:
    staff.shop.queue().push_many([1, 2])
    one = staff.shop.person("one")
    other = f"{one}/b"
    as_administrator(staff.shop.administrator, "CREATE ROLE {} LOGIN PASSWORD 'hunter2'", other)
    staff.shop.forget(other)
    staff.shop.make("packing", "orders", list(ALL_VERBS), to=[one, other])

    of_other = staff.shop.run(other, "SELECT id FROM packing.claim(claim_key => 'k')")
    of_one = staff.shop.run(one, "SELECT id FROM packing.claim(claim_key => 'b/k')")

    assert len(of_other) == len(of_one) == 1
    assert of_other != of_one


def test_a_function_of_ones_own_claims_in_the_name_of_who_calls_it(staff: Staff) -> None:
    """A limit: nothing within a SECURITY DEFINER function says on whose behalf it runs."""
    staff.shop.queue().push(1)
    caller = staff.shop.person("caller")
    make = "CREATE SCHEMA theirs AUTHORIZATION {}"
    as_administrator(staff.shop.administrator, make, staff.packer)
    staff.run("GRANT USAGE ON SCHEMA theirs TO PUBLIC")
    staff.run(
        "CREATE FUNCTION theirs.take() RETURNS bigint LANGUAGE sql SECURITY DEFINER"
        " AS 'SELECT id FROM packing.claim()'"
    )

    ((id_,),) = staff.shop.run(caller, "SELECT theirs.take()")

    with staff.shop.owner.connect() as connection:
        named = text("SELECT claimed_by FROM xclaim_message WHERE id = :id")
        holder = connection.scalar(named, {"id": id_})
    assert str(holder).startswith(f"{caller}/")
    as_administrator(staff.shop.administrator, "DROP SCHEMA theirs CASCADE")


# What it cannot.


@pytest.mark.parametrize("hole", HOLES)
def test_who_has_a_capability_has_nothing_besides(staff: Staff, hole: str) -> None:
    staff.shop.queue().push(1, unique_key="key")
    roles = {"owner": staff.shop.owner.url.username, "consumer": f'"{staff.role("consumer")}"'}

    with refused():
        staff.run(HOLES[hole].format(**roles))


def test_who_has_a_capability_gives_it_to_nobody(staff: Staff) -> None:
    stranger = staff.shop.person("stranger")
    with staff.shop.session(staff.packer) as session:  # PostgreSQL warns, and does nothing
        session.execute(f"GRANT USAGE ON SCHEMA packing TO {stranger}")
        session.execute(f"GRANT EXECUTE ON FUNCTION packing.claim TO {stranger}, PUBLIC")

    with refused():
        staff.shop.run(stranger, "SELECT packing.claim()")


@pytest.mark.parametrize("verb", ALL_VERBS)
def test_execute_on_one_function_is_the_right_to_one_verb(staff: Staff, verb: str) -> None:
    person = staff.shop.person()
    with staff.shop.owner.begin() as connection:
        connection.execute(text(f"GRANT USAGE ON SCHEMA packing TO {person}"))
        connection.execute(text(f"GRANT EXECUTE ON FUNCTION packing.{verb} TO {person}"))

    with staff.shop.session(person) as session:
        for each, call in ALL_VERBS.items():
            if each != verb:
                with refused():
                    session.execute(call)
        allowed = _sqlstate(session, ALL_VERBS[verb])

    assert allowed in (None, LOST)


def _sqlstate(session: Any, statement: str) -> str | None:
    try:
        session.execute(statement)
    except psycopg.Error as error:
        return error.sqlstate
    return None


def test_nobody_has_a_function_unless_he_was_given_it(staff: Staff) -> None:
    stranger = staff.shop.person("stranger")

    for call in ALL_VERBS.values():
        with refused():
            staff.shop.run(stranger, call)


def test_a_capability_that_was_revoked_is_gone_for_a_session_that_goes_on(staff: Staff) -> None:
    with staff.shop.session(staff.packer) as session:
        session.execute("SELECT packing.claim()")
        with staff.shop.owner.begin() as connection:
            revoke = f"REVOKE EXECUTE ON FUNCTION packing.claim FROM {staff.packer}"
            connection.execute(text(revoke))
        try:
            with refused():
                session.execute("SELECT packing.claim()")
        finally:
            staff.shop.make("packing", "orders", list(ALL_VERBS), to=[staff.packer])


@pytest.mark.parametrize(
    "settle",
    [
        "SELECT billing.ack(%s, %s)",
        "SELECT billing.release(%s, %s)",
        "SELECT billing.release(%s, %s, error => 'bad')",
        "SELECT billing.extend(%s, %s)",
    ],
)
def test_a_token_settles_nothing_in_another_queue(staff: Staff, settle: str) -> None:
    staff.shop.queue().push(1)
    claim = claimed(staff.shop.queue())

    with failing(LOST):
        staff.shop.run(staff.clerk, settle, claim.message.id, claim.token)
    many = "SELECT billing.ack_many(%s, %s)"
    acked = staff.shop.run(staff.clerk, many, [claim.message.id], [claim.token])

    assert acked == []
    staff.shop.queue().ack(claim)


def test_nothing_is_settled_without_its_token(staff: Staff) -> None:
    staff.shop.queue().push(1)
    claim = claimed(staff.shop.queue())

    for settle in ("ack", "release", "extend"):
        with failing(LOST):
            staff.run(f"SELECT packing.{settle}(%s, gen_random_uuid())", claim.message.id)
        with failing(LOST):
            staff.run(f"SELECT packing.{settle}(%s, NULL)", claim.message.id)

    assert staff.shop.queue().counts().claimed == 1


def test_two_capabilities_reach_nothing_of_each_other(staff: Staff) -> None:
    orders = staff.shop.queue()
    orders.push_many([1, 2, 3], unique_keys=["a", "b", "c"], max_attempts=1)
    orders.ack(claimed(orders))
    claimed(orders, lease=NO_LEASE)
    before = orders.counts()

    for call in (
        "SELECT id FROM billing.claim(n => 9)",
        "SELECT id FROM billing.peek(9)",
    ):
        assert staff.shop.run(staff.clerk, call) == []
    for call in (
        "SELECT billing.expire()",
        "SELECT billing.redrive()",
        "SELECT billing.prune('0')",
        "SELECT billing.withdraw('{a,b,c}')",
        "SELECT consumed FROM billing.counts()",
    ):
        assert staff.shop.run(staff.clerk, call) == [(0,)]
    staff.shop.run(staff.clerk, "SELECT billing.push('1', unique_key => 'a')")

    assert orders.counts() == before


def test_the_role_that_runs_a_function_does_that_and_nothing_else(staff: Staff) -> None:
    staff.shop.queue("invoices").push(1)
    staff.shop.queue().push_many([1, 2])
    staff.shop.queue().ack(claimed(staff.shop.queue()))
    forbidden = {
        "producer": ["xclaim_claim('orders')", "xclaim_push('invoices', '1')"],
        "consumer": ["xclaim_push('orders', '1')", "xclaim_prune('orders', '0')"],
        "maintainer": ["xclaim_claim('orders')", "xclaim_peek('orders')"],
        "deleter": ["xclaim_claim('orders')", "xclaim_expire('orders')", "xclaim_peek('orders')"],
        "reader": ["xclaim_claim('orders')", "xclaim_prune('orders', '0')"],
        "observer": ["xclaim_peek('orders')", "xclaim_expire('orders')"],
    }

    for part, calls in forbidden.items():
        for call in calls:
            with refused(), staff.shop.administrator.connect() as connection:
                driver: Any = connection.connection.driver_connection
                driver.execute(f'SET ROLE "{staff.role(part)}"')
                driver.execute(f"SELECT {call}")
    with staff.shop.administrator.connect() as connection:
        driver = connection.connection.driver_connection
        for part in forbidden:
            driver.execute(f'SET ROLE "{staff.role(part)}"')
            rows = driver.execute("SELECT DISTINCT queue FROM xclaim_message").fetchall()
            assert rows == [("orders",)]
        changed = "UPDATE xclaim_message SET consumed_at = now()"
        driver.execute(f'SET ROLE "{staff.role("deleter")}"')
        with refused():
            driver.execute(changed)
        driver.rollback()


# Tricks.

TRAPS = """
CREATE TEMP TABLE xclaim_message (LIKE pg_catalog.pg_class);
CREATE TEMP TABLE xclaim_queue (queue text);
CREATE FUNCTION pg_temp.trapped() RETURNS void LANGUAGE plpgsql
    AS $$ BEGIN RAISE 'trapped'; END $$;
CREATE FUNCTION pg_temp.xclaim_claim(queue text, claimed_by text DEFAULT NULL,
    n integer DEFAULT 1, lease interval DEFAULT '1 s', claim_key text DEFAULT NULL)
    RETURNS void LANGUAGE plpgsql AS $$ BEGIN RAISE 'trapped'; END $$;
CREATE FUNCTION pg_temp.pg_backend_pid() RETURNS integer LANGUAGE plpgsql
    AS $$ BEGIN RAISE 'trapped'; END $$;
CREATE FUNCTION pg_temp.statement_timestamp() RETURNS timestamptz LANGUAGE plpgsql
    AS $$ BEGIN RAISE 'trapped'; END $$;
CREATE FUNCTION pg_temp.joined(text, text) RETURNS text LANGUAGE plpgsql
    AS $$ BEGIN RAISE 'trapped'; END $$;
CREATE OPERATOR pg_temp.|| (LEFTARG = text, RIGHTARG = text, FUNCTION = pg_temp.joined);
CREATE FUNCTION pg_temp.same(text, text) RETURNS boolean LANGUAGE plpgsql
    AS $$ BEGIN RAISE 'trapped'; END $$;
CREATE OPERATOR pg_temp.= (LEFTARG = text, RIGHTARG = text, FUNCTION = pg_temp.same);
SET search_path = pg_temp, pg_catalog, packing, public;
"""


def test_what_a_caller_has_made_is_neither_called_nor_read(staff: Staff) -> None:
    with staff.shop.session(staff.packer) as session:
        session.execute(TRAPS)
        session.execute("SELECT packing.push('1')")
        ((id_, token),) = session.execute("SELECT id, token FROM packing.claim('me')").fetchall()
        session.execute("SELECT packing.ack(%s, %s)", (id_, token))
        counted = session.execute("SELECT consumed FROM packing.counts()").fetchall()

    assert counted == [(1,)]
    assert staff.shop.queue().counts().consumed == 1


@pytest.mark.parametrize(
    "setting",
    [
        "row_security = off",
        "standard_conforming_strings = off",
        "plan_cache_mode = force_custom_plan",
        "search_path = ''",
        "DateStyle = 'German'",
        "IntervalStyle = 'iso_8601'",
        "TimeZone = 'Asia/Kathmandu'",
        "quote_all_identifiers = on",
        "default_transaction_isolation = 'serializable'",
    ],
)
def test_what_a_caller_sets_opens_nothing(staff: Staff, setting: str) -> None:
    staff.shop.queue("invoices").push("theirs")
    staff.shop.queue().push("ours")

    with staff.shop.session(staff.packer) as session:
        session.execute(f"SET {setting}")
        try:
            payloads = session.execute("SELECT payload FROM packing.claim(n => 9)").fetchall()
        except errors.InsufficientPrivilege:  # whoever says that policies are off is refused
            payloads = [("ours",)]
            assert setting == "row_security = off"

    assert payloads == [("ours",)]


def test_a_function_of_our_name_that_fits_as_well_is_not_called(staff: Staff) -> None:
    trap = (
        "CREATE FUNCTION public.xclaim_{}(queue text, {} DEFAULT NULL) RETURNS bigint"
        " LANGUAGE plpgsql AS 'BEGIN RAISE ''trapped''; END'"
    )
    traps = [
        trap.format("redrive", "n integer"),
        trap.format("expire", "n bigint"),
        trap.format("claim", "claimed_by varchar"),
    ]
    with staff.shop.owner.connect() as connection:
        driver: Any = connection.connection.driver_connection
        for each in traps:
            driver.execute(each)
        driver.commit()
    try:
        assert staff.run("SELECT packing.redrive()") == [(0,)]
        assert staff.run("SELECT packing.expire()") == [(0,)]
        assert staff.run("SELECT id FROM packing.claim('me')") == []
    finally:
        with staff.shop.owner.begin() as connection:
            for name in ("redrive(text, integer)", "expire(text, bigint)", "claim(text, varchar)"):
                connection.execute(text(f"DROP FUNCTION public.xclaim_{name}"))


def test_a_function_that_somebody_put_beside_ours_is_not_made_into_a_capability(
    staff: Staff,
) -> None:
    mallory = staff.shop.person("mallory")
    as_administrator(staff.shop.administrator, "GRANT CREATE ON SCHEMA public TO {}", mallory)
    staff.shop.queue().push(1)
    trap = "public.xclaim_claim(queue text, spare text DEFAULT NULL)"
    staff.shop.run(
        mallory,
        f"CREATE FUNCTION {trap} RETURNS bigint LANGUAGE plpgsql AS"
        " 'BEGIN RAISE ''trapped as %'', current_user; END'",
    )
    try:
        staff.shop.make("packing", "orders", list(ALL_VERBS), to=[staff.packer])
        assert len(staff.run("SELECT id FROM packing.claim()")) == 1
    finally:
        staff.shop.run(mallory, "DROP FUNCTION public.xclaim_claim(text, text)")
        as_administrator(staff.shop.administrator, "DROP OWNED BY {}", mallory)


def test_who_may_create_beside_the_table_can_stop_its_functions(staff: Staff) -> None:
    """A limit, which `xclaim doctor` names: it fails, and what he made is not called."""
    mallory = staff.shop.person("mallory")
    as_administrator(staff.shop.administrator, "GRANT CREATE ON SCHEMA public TO {}", mallory)
    staff.shop.run(
        mallory,
        "CREATE FUNCTION public.xclaim_counts(queue text, spare text DEFAULT NULL)"
        " RETURNS bigint LANGUAGE plpgsql AS 'BEGIN RAISE ''trapped''; END'",
    )
    try:
        with failing("42725"):
            staff.run("SELECT packing.counts()")
        said = [each.found for each in examine(staff.shop.owner) if each.name == "functions"]
    finally:
        as_administrator(staff.shop.administrator, "DROP OWNED BY {}", mallory)

    assert said == [f"{mallory} has put a function beside xclaim_counts"]
    assert staff.run("SELECT available FROM packing.counts()") == [(0,)]


def test_a_schema_that_somebody_else_made_is_not_taken_for_ours(staff: Staff) -> None:
    mallory = staff.shop.person("mallory")
    database = staff.shop.database
    as_administrator(
        staff.shop.administrator, "GRANT CREATE ON DATABASE {} TO {}", database, mallory
    )
    staff.shop.run(mallory, "CREATE SCHEMA evil")
    try:
        with staff.shop.administrator.connect() as connection:
            comment = connection.scalar(text("SELECT obj_description('packing'::regnamespace)"))
        staff.shop.run(mallory, f"COMMENT ON SCHEMA evil IS '{comment}'")

        with pytest.raises(XclaimError, match="evil"):
            staff.shop.make("evil", "orders", ["claim"], by=staff.shop.administrator)
    finally:
        as_administrator(staff.shop.administrator, "DROP OWNED BY {}", mallory)


def test_a_payload_is_data(staff: Staff) -> None:
    payload = "'; DROP TABLE xclaim_message; -- $1 %s \\ \" ü"

    staff.run("SELECT packing.push(to_jsonb(%s::text), unique_key => %s)", payload, payload)
    found = staff.run("SELECT payload, unique_key FROM packing.claim(%s)", payload)

    assert found == [(payload, payload)]


def test_who_is_made_a_member_of_the_role_has_its_rights(staff: Staff) -> None:
    """A limit, which `xclaim doctor` names: the role is as good as its members."""
    person = staff.shop.person("member")
    role = staff.role("consumer")
    as_administrator(staff.shop.administrator, "GRANT {} TO {}", role, person)
    staff.shop.queue().push(1)

    try:
        assert len(staff.shop.run(person, "SELECT id FROM xclaim_message")) == 1
    finally:
        as_administrator(staff.shop.administrator, "REVOKE {} FROM {}", role, person)


def test_a_claim_in_an_open_transaction_hides_its_message(staff: Staff) -> None:
    """A limit: whoever may claim may do so and never commit."""
    staff.shop.queue().push(1)

    with staff.shop.session(staff.packer) as session:
        session.execute("BEGIN")
        session.execute("SELECT packing.claim()")
        hidden = staff.shop.queue().claim()
        session.execute("ROLLBACK")

    assert hidden is None
    assert staff.shop.queue().claim() is not None
