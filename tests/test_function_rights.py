"""Each kind of role has the functions of its verbs, and what it may call does its work."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import text

from tests import sql_functions
from tests.people import People, member, people, refused

LOOKS = {"peek", "counts"}
CONSUMES = {"claim", "ack", "ack_many", "release", "extend", "expire"}
MAINTAINS = {"expire", "redrive", "withdraw", "prune", "counts"}
VERBS = {
    "producer": {"push", "push_many", "push_row", *LOOKS},
    "consumer": {*CONSUMES, *LOOKS},
    "observer": {"counts"},
    "reader": LOOKS,
    "maintainer": MAINTAINS,
}
NOBODYS = "'00000000-0000-0000-0000-000000000000'"
CALLS = {
    "push": "xclaim_push('orders', '1', unique_key => 'key')",
    "push_many": "xclaim_push_many('orders', ARRAY['1']::jsonb[], ARRAY['key'])",
    "claim": "xclaim_claim('orders')",
    "ack": f"xclaim_ack(1, {NOBODYS})",
    "ack_many": f"xclaim_ack_many('{{1}}', ARRAY[{NOBODYS}]::uuid[])",
    "release": f"xclaim_release(1, {NOBODYS}, error => 'bad')",
    "extend": f"xclaim_extend(1, {NOBODYS})",
    "expire": "xclaim_expire('orders')",
    "redrive": "xclaim_redrive('orders')",
    "withdraw": "xclaim_withdraw('orders', '{key}')",
    "prune": "xclaim_prune('orders', '0')",
    "peek": "xclaim_peek('orders')",
    "counts": "xclaim_counts('orders')",
}
SETTLES = {"ack", "release", "extend"}  # of a claim that is none, this is XC001
OTHERS = [(who, verb) for who in VERBS for verb in CALLS if verb not in VERBS[who]]
OWN = [(who, verb) for who in VERBS for verb in CALLS if verb in VERBS[who]]


@pytest.fixture(scope="module", params=[(), ("orders",)], ids=["all queues", "one queue"])
def granted(request: pytest.FixtureRequest, postgresql_server: str) -> Iterator[People]:
    with people(postgresql_server, None, request.param) as all_of_them:
        yield all_of_them


@pytest.mark.parametrize("who", VERBS)
def test_each_kind_of_role_has_the_functions_of_its_verbs_and_no_other(
    granted: People, who: str
) -> None:
    has = text(
        "SELECT proname FROM pg_proc WHERE proname = ANY (:names)"
        " AND has_function_privilege(:role, oid, 'EXECUTE')"
    )
    given = {"names": sql_functions.names(), "role": granted.engines[who].url.username}

    with granted.owner.connect() as connection:
        names = set(connection.scalars(has, given))

    assert names == {f"xclaim_{verb}" for verb in VERBS[who]}


@pytest.mark.parametrize(("who", "verb"), OWN)
def test_what_a_role_may_call_does_its_work(granted: People, who: str, verb: str) -> None:
    state = "XC001" if verb in SETTLES else None

    assert _state(granted, who, f"SELECT {CALLS[verb]}") == state


@pytest.mark.parametrize(("who", "verb"), OTHERS)
def test_what_a_role_may_not_call_is_refused(granted: People, who: str, verb: str) -> None:
    with refused():
        granted.run(who, f"SELECT {CALLS[verb]}")


def test_who_has_no_role_calls_none(granted: People, postgresql_server: str) -> None:
    with member(postgresql_server, granted) as stranger:
        for call in CALLS.values():
            with refused(), stranger.begin() as connection:
                connection.exec_driver_sql(f"SELECT {call}")


def _state(granted: People, who: str, sql: str) -> str | None:
    try:
        granted.run(who, sql)
    except Exception as error:  # noqa: BLE001  (its state is looked at)
        return str(getattr(getattr(error, "orig", None), "sqlstate", error))
    return None
