"""A connection that says behind which other one a queue is: the extra `xclaim_places`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from xclaim.airflow.versions import AirflowSkipException, TaskDeferralError

import pytest
from sqlalchemy import make_url
from sqlalchemy.exc import OperationalError

from tests import databases
from tests.hook.conftest import connection_uri, within_rerun, within_task
from xclaim import DatabaseUrlError, Queue
from xclaim.airflow import triggers
from xclaim.airflow.hooks import XclaimHook
from xclaim.airflow.operators import ClaimOperator, PushOperator
from xclaim.airflow.sensors import ClaimSensor
from xclaim.airflow.triggers import AvailableTrigger, WakeUpTrigger
from xclaim.airflow.xcom import XclaimXComBackend, exclusive
from xclaim.operations import migrate

pytestmark = pytest.mark.airflow

KEY = "cw_0x689RpI-jtRR7oE8h_eQsKImvJapLeSbXpwF4e4="


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch) -> Callable[[object], None]:
    def connect(places: object) -> None:
        connection = {"conn_type": "xclaim", "extra": {"xclaim_places": places}}
        monkeypatch.setenv("AIRFLOW_CONN_XCLAIM_DEFAULT", json.dumps(connection))

    return connect


@pytest.fixture
def urls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, connect: Callable[[object], None]
) -> dict[str, str]:
    urls = {name: databases.sqlite_url(tmp_path / f"{name}.db") for name in ("north", "south")}
    for name, url in urls.items():
        migrate.upgrade(url)
        monkeypatch.setenv(f"AIRFLOW_CONN_{name.upper()}", connection_uri(url))
    connect({"orders*": "north", "*": "south"})
    return urls


@pytest.mark.parametrize(("queue", "place"), [("orders", "north"), ("parcels", "south")])
def test_a_queue_is_behind_the_connection_of_its_place(
    urls: dict[str, str], queue: str, place: str
) -> None:
    hook = XclaimHook()

    hook.queue(queue).push(1)

    with Queue(queue, urls[place]) as there:
        assert there.counts().available == 1
    assert hook.asset_uri(queue) == XclaimHook(place).asset_uri(queue)


NOWHERE = "postgresql://somebody:secret@127.0.0.1:1/shop"


def refused(call: Callable[[], object]) -> str:
    """Return the notes of the error of a database that is away."""
    with pytest.raises(OperationalError) as raised:
        call()
    return "\n".join(raised.value.__notes__)


def push_and_replace(hook: XclaimHook) -> None:
    with within_rerun():
        hook.queue("orders").push(1, on_rerun="replace_unconsumed")


@pytest.mark.usefixtures("urls")
@pytest.mark.parametrize(
    "call",
    [
        lambda hook: hook.queue("orders").push(1),
        lambda hook: hook.queue("orders").claim(),
        lambda hook: hook.queue("orders").transact().__enter__(),
        push_and_replace,
    ],
)
def test_a_connection_whose_database_is_away_is_named(
    monkeypatch: pytest.MonkeyPatch, call: Callable[[XclaimHook], object]
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_NORTH", connection_uri(NOWHERE))

    said = refused(lambda: call(XclaimHook()))

    assert said == "xclaim: queue 'orders' is behind connection 'north'"


def test_a_trigger_names_it_too(
    urls: dict[str, str],  # noqa: ARG001  (where they are)
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_NORTH", connection_uri(NOWHERE))
    monkeypatch.setattr(triggers, "_RECONNECT", timedelta(0))

    assert "connection 'north'" in refused(lambda: fire(AvailableTrigger(queue_name="orders")))


def test_operators_hand_on_tickets_of_the_place(urls: dict[str, str]) -> None:
    PushOperator(task_id="push", queue_name="orders", payloads=[1]).execute({})
    ticket = ClaimOperator(task_id="claim", queue_name="orders").execute({})
    assert ticket is not None

    with XclaimHook().consume_ticket(ticket) as claims:
        assert [claim.payload for claim in claims] == [1]

    with Queue("orders", urls["north"]) as there:
        assert there.counts().consumed == 1


def test_a_trigger_looks_in_the_place(urls: dict[str, str]) -> None:
    with Queue("orders", urls["north"]) as there:
        there.push(1)

    async def first() -> object:
        return await anext(AvailableTrigger(queue_name="orders").run())

    assert asyncio.run(asyncio.wait_for(first(), 60))


def test_the_button_tries_each_place(
    urls: dict[str, str],  # noqa: ARG001  (where they are)
    connect: Callable[[object], None],
    monkeypatch: pytest.MonkeyPatch,
    empty_sqlite_url: str,
) -> None:
    assert XclaimHook().test_connection() == (True, "the xclaim schema is up to date")

    monkeypatch.setenv("AIRFLOW_CONN_WEST", connection_uri(empty_sqlite_url))
    connect({"orders*": "north", "*": "west"})

    is_right, said = XclaimHook().test_connection()
    assert not is_right
    assert "--conn-id west" in said


@pytest.mark.parametrize(
    ("places", "complaint"),
    [
        ({"orders*": "north"}, "no pattern that fits queue 'parcels', only orders"),
        (["north"], "must map queues to connections"),
        ({"*": 7}, "must map queues to connections"),
        ({"*": "nowhere"}, "Airflow has no connection 'nowhere'"),
    ],
)
def test_places_that_lead_nowhere_are_refused(
    urls: dict[str, str],  # noqa: ARG001
    connect: Callable[[object], None],
    places: object,
    complaint: str,
) -> None:
    connect(places)

    with pytest.raises(DatabaseUrlError, match=complaint):
        XclaimHook().queue("parcels")


def test_a_place_is_not_asked_for_places_of_its_own(
    urls: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = {
        "conn_type": "xclaim",
        "schema": make_url(urls["north"]).database,
        "extra": {"xclaim_places": {"*": "xclaim_default"}},
    }
    monkeypatch.setenv("AIRFLOW_CONN_NORTH", json.dumps(connection))

    XclaimHook().queue("orders").push(1)

    with Queue("orders", urls["north"]) as there:
        assert there.counts().available == 1


@pytest.fixture
def split(urls: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    extra = {"xclaim_places": {"orders.[01]": "north", "*": "south"}, "xclaim_parts": {"orders": 4}}
    connection = {"conn_type": "xclaim", "extra": extra}
    monkeypatch.setenv("AIRFLOW_CONN_XCLAIM_DEFAULT", json.dumps(connection))
    return urls


def test_a_split_queue_is_behind_the_connections_of_its_parts(split: dict[str, str]) -> None:
    queue = XclaimHook().queue("orders")
    for number in range(4):
        queue.push(number)

    claims = [claim for claim in (queue.claim() for _ in range(4)) if claim is not None]
    queue.ack_many(claims)

    assert sorted(claim.payload for claim in claims) == [0, 1, 2, 3]
    for name, parts in (("north", ("orders.0", "orders.1")), ("south", ("orders.2", "orders.3"))):
        for part in parts:
            with Queue(part, split[name]) as there:
                assert there.counts().consumed == 1


def test_the_connection_of_a_part_is_named(
    split: dict[str, str],  # noqa: ARG001
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_SOUTH", connection_uri(NOWHERE))

    said = refused(XclaimHook().queue("orders").counts)

    assert said == "xclaim: queue 'orders.2, orders.3' is behind connection 'south'"


def rendered(payload: str) -> str:
    """Return what Airflow shows of a push whose queue a template names."""
    operator = PushOperator(task_id="push", queue_name="{{ queue }}", payloads=[payload])
    context: Any = {"queue": "orders"}
    operator.render_template_fields(context)
    return repr(operator.payloads)


@pytest.mark.usefixtures("urls")
def test_rendered_fields_are_shown_without_a_database_of_the_connection_s_own() -> None:
    assert "PLAIN" in rendered("PLAIN")


@pytest.mark.parametrize("place", ["north", "south"])
def test_rendered_fields_are_hidden_where_the_place_is_encrypted(
    split: dict[str, str], monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    uri = f"{connection_uri(split[place])}?xclaim_encryption=xclaim"
    monkeypatch.setenv(f"AIRFLOW_CONN_{place.upper()}", uri)
    monkeypatch.setenv("XCLAIM_FERNET_KEYS", KEY)

    assert "SECRET" not in rendered("SECRET")


@pytest.mark.parametrize(("full", "said"), [(1, r"\d of 8 messages are in it"), (4, "nothing")])
def test_a_push_to_a_split_queue_that_is_partly_full_says_how_many_are_in_it(
    split: dict[str, str], full: int, said: str
) -> None:
    for part, place in (("0", "north"), ("1", "north"), ("2", "south"), ("3", "south")):
        if int(part) < full:
            with Queue(f"orders.{part}", split[place]) as there:
                there.push_many(range(8))
    push = PushOperator(
        task_id="push",
        queue_name="orders",
        payloads=list(range(8)),
        unique_keys=[f"key {number}" for number in range(8)],
        max_backlog=8,
        on_full="skip",
    )

    with pytest.raises(AirflowSkipException, match=f"'orders' is full: {said}"):
        push.execute({})


@pytest.mark.usefixtures("split")
def test_tickets_of_a_split_queue_are_resumed() -> None:
    hook = XclaimHook()
    hook.queue("orders").push(1)
    ticket = ClaimOperator(task_id="claim", queue_name="orders").execute({})
    assert ticket is not None

    (claim,) = hook.resume(ticket, queue_name="orders")

    assert claim.payload == 1


@pytest.fixture
def without_south(split: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> str:
    """Let a place of the split queue be away; return the URL of the other one."""
    monkeypatch.setenv("AIRFLOW_CONN_SOUTH", connection_uri(NOWHERE))
    return split["north"]


def sense() -> object:
    return ClaimSensor(
        task_id="wait", queue_name="orders", deferrable=False, timeout=0, soft_fail=True
    ).execute({})


@pytest.mark.usefixtures("without_south")
@pytest.mark.parametrize(
    "look",
    [
        lambda: XclaimHook().claim_ticket("orders"),
        lambda: XclaimHook().claim_batches("orders", 2),
        lambda: ClaimOperator(task_id="claim", queue_name="orders").execute({}),
        sense,
    ],
)
def test_a_task_does_not_take_a_place_that_is_away_for_empty(look: Callable[[], object]) -> None:
    assert "is behind connection 'south'" in refused(look)


def test_a_task_claims_what_is_in_the_other_places(without_south: str) -> None:
    with Queue("orders.1", without_south) as part:
        part.push_many(range(5))

        sensed = sense()
        tickets = XclaimHook().claim_batches("orders", 2)

        assert sensed is not None
        assert len(tickets) == 2
        assert part.counts().claimed == 5


def test_a_sensor_that_finds_nothing_anywhere_is_skipped(
    split: dict[str, str],  # noqa: ARG001
) -> None:
    with pytest.raises(AirflowSkipException):
        sense()


@pytest.mark.usefixtures("split", "xcom_folder")
@pytest.mark.parametrize("value", range(4))
def test_an_exclusive_value_in_a_split_queue_is_claimed_by_its_part(value: int) -> None:
    with within_task(run_id=f"run {value}"):
        stored = XclaimXComBackend.serialize_value(exclusive(value, "orders"), key="return_value")
    passed_on = XclaimXComBackend.deserialize_value(SimpleNamespace(value=stored))

    with within_task(task_id="pack"), passed_on as claimed:
        assert claimed.payload == value

    assert XclaimHook().queue("orders").counts().consumed == 1


@pytest.mark.usefixtures("split", "xcom_folder")
def test_other_values_take_the_place_of_the_former_ones_in_each_part() -> None:
    def returned(payloads: Sequence[object]) -> None:
        values = [exclusive(payload, "orders") for payload in payloads]
        XclaimXComBackend.serialize_value(values, key="return_value")

    with within_task():
        returned(range(8))
    with within_task(2):
        returned(range(10, 18))

    left = XclaimHook().queue("orders").peek(99)
    assert sorted(message.payload for message in left) == [*range(10, 18)]


@pytest.mark.parametrize("parts", [4, {"orders": "four"}])
def test_wrong_parts_are_refused(monkeypatch: pytest.MonkeyPatch, parts: object) -> None:
    connection = {"conn_type": "xclaim", "extra": {"xclaim_parts": parts}}
    monkeypatch.setenv("AIRFLOW_CONN_XCLAIM_DEFAULT", json.dumps(connection))

    with pytest.raises(DatabaseUrlError, match=r"xclaim_parts.*xclaim_default"):
        XclaimHook().queue("orders")


@pytest.mark.usefixtures("split")
def test_a_watcher_watches_one_part() -> None:
    with pytest.raises(DatabaseUrlError, match="split into 4 parts"):
        fire(WakeUpTrigger(queue_name="orders"))


def fire(trigger: Any) -> object:
    async def first() -> object:
        return await anext(trigger.run())

    return asyncio.run(first())


@pytest.mark.parametrize(
    ("part", "place"), [("0", "north"), ("1", "north"), ("2", "south"), ("3", "south")]
)
def test_a_deferred_sensor_is_woken_by_each_part_of_a_split_queue(
    split: dict[str, str], part: str, place: str
) -> None:
    with Queue(f"orders.{part}", split[place]) as there:
        there.push(1)

    fire(AvailableTrigger(queue_name="orders"))


def test_a_deferred_sensor_is_woken_by_the_other_places(without_south: str) -> None:
    with Queue("orders.1", without_south) as part:
        part.push(1)

    fire(AvailableTrigger(queue_name="orders"))


@pytest.mark.usefixtures("split")
def test_a_trigger_fails_when_no_place_of_a_split_queue_is_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(triggers, "_RECONNECT", timedelta(0))
    for place in ("NORTH", "SOUTH"):
        monkeypatch.setenv(f"AIRFLOW_CONN_{place}", connection_uri(NOWHERE))

    said = refused(lambda: fire(AvailableTrigger(queue_name="orders")))

    assert "is behind connection" in said


def test_what_nobody_is_woken_for_is_not_fired_for(split: dict[str, str]) -> None:
    triggers._fired.clear()
    for part, place in (("0", "north"), ("2", "south")):
        with Queue(f"orders.{part}", split[place]) as there:
            there.push(1)

    fire(AvailableTrigger(queue_name="orders"))

    assert sum(map(len, triggers._fired.values())) == 1


def end_deferral(reason: str, **options: Any) -> object:
    """Let a deferred sensor be resumed as Airflow does when nothing woke it."""
    sensor = ClaimSensor(
        task_id="wait", queue_name="orders", deferrable=True, soft_fail=True, **options
    )
    return sensor.resume_execution("__fail__", {"error": reason}, {})


@pytest.mark.usefixtures("split")
def test_a_deferred_sensor_is_skipped_when_its_time_is_over_and_nothing_is_there() -> None:
    with pytest.raises(AirflowSkipException):
        end_deferral("Trigger timeout")


def test_a_deferred_sensor_looks_once_more_when_its_time_is_over(split: dict[str, str]) -> None:
    with Queue("orders.3", split["south"]) as part:
        part.push(1)

        ticket = end_deferral("Trigger timeout")

        assert ticket is not None
        assert part.counts().claimed == 1


@pytest.mark.usefixtures("without_south")
def test_a_deferred_sensor_does_not_take_a_place_that_is_away_for_empty() -> None:
    said = refused(lambda: end_deferral("Trigger timeout"))

    assert "is behind connection 'south'" in said


@pytest.mark.usefixtures("split")
def test_a_trigger_that_failed_is_no_reason_to_be_skipped() -> None:
    with pytest.raises(TaskDeferralError):
        end_deferral("Trigger failure")
