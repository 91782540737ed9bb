"""`exclusive(value)`: handed from task to task as an XCom, and consumed by one of them."""

# mypy: disable-error-code="untyped-decorator"

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd
import pytest
from airflow import sdk
from airflow.sdk import Asset
from airflow.sdk.bases.xcom import BaseXCom

from tests.hook.conftest import (
    RETRIES,
    DagRun,
    configure_xcoms,
    connection_uri,
    dags,
    within_rerun,
    within_task,
)
from xclaim import Claim, DuplicateMessageError, InvalidArgumentError, Message, Queue
from xclaim.airflow.xcom.backend import (
    ExclusiveValue,
    ExclusiveValueLostError,
    XclaimXComBackend,
    exclusive,
)
from xclaim.airflow.xcom.exclusive_values import consume_values
from xclaim.payloads.layers.encryption import Keys

pytestmark = [pytest.mark.airflow, pytest.mark.usefixtures("xcom_folder")]

KEY = "cw_0x689RpI-jtRR7oE8h_eQsKImvJapLeSbXpwF4e4="
OTHER_KEY = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
Run = Callable[..., DagRun]
task: Any = sdk.task  # its decorators are found at run time
dag = dags("hand_over", retries=2)


@pytest.fixture
def orders(connected: str) -> Iterator[Queue]:
    with Queue("orders", connected) as queue:
        yield queue


@pytest.fixture
def returns(connected: str) -> Iterator[Queue]:
    with Queue("returns", connected) as queue:
        yield queue


@task
def produce() -> Any:
    return exclusive({"order": 4711}, "orders")


@task
def produce_three() -> Any:
    return [exclusive({"order": number}, "orders") for number in range(3)]


def returned(value: Any, key: str = "return_value") -> Any:
    """Return what another task reads after a task has returned the value."""
    stored = XclaimXComBackend.serialize_value(value, key=key)
    return XclaimXComBackend.deserialize_value(type("Stored", (), {"value": stored}))


def test_the_next_task_gets_the_value_as_a_message(run: Run, orders: Queue) -> None:
    with dag("one") as built:

        @task.exclusive
        def pack(order: Message) -> Any:
            return order.payload

        pack(produce())

    done = run(built)

    assert done.xcoms("pack") == [{"order": 4711}]
    assert orders.counts().consumed == 1


def test_the_queue_is_named_after_the_task_unless_it_is_named(run: Run, connected: str) -> None:
    with dag("default_queue") as built:

        @task
        def give() -> Any:
            return exclusive("parcel")

        @task.exclusive()
        def pack(order: Message) -> Any:
            return order.queue

        pack(give())

    done = run(built)

    assert done.xcoms("pack") == ["hand_over_default_queue.give"]
    with Queue("hand_over_default_queue.give", connected) as queue:
        assert queue.counts().consumed == 1


def test_the_message_says_which_task_it_is_from(orders: Queue) -> None:
    with within_task(task_id="produce"):
        value = returned(exclusive(1, "orders"))

    message = orders.get(value.message_id)
    assert message is not None
    assert message.headers["task_id"] == "produce"


def test_the_place_of_the_message_is_a_plain_dict_in_airflows_database(
    run: Run, orders: Queue
) -> None:
    with dag("place") as built:
        produce()

    done = run(built)

    (place,) = done.xcoms("produce")
    (message,) = orders.peek()
    assert place["__data__"] == {
        "queue": "orders",
        "message_id": message.id,
        "xclaim_conn_id": "xclaim_default",
    }


def test_each_mapped_task_claims_its_own(run: Run, orders: Queue) -> None:
    with dag("mapped") as built:

        @task.exclusive
        def pack(order: Message, shelf: str) -> Any:
            return f"{shelf}{order.payload['order']}"

        pack.partial(shelf="A").expand(order=produce_three())

    done = run(built)

    assert done.xcoms("pack") == ["A0", "A1", "A2"]
    assert orders.counts().consumed == 3


def test_mapped_tasks_hand_over_to_mapped_tasks(run: Run, orders: Queue) -> None:
    with dag("mapped_twice") as built:

        @task
        def give(number: int) -> Any:
            return exclusive(number, "orders")

        @task.exclusive
        def pack(order: Message) -> Any:
            return order.payload

        pack.expand(order=give.expand(number=[5, 6, 7]))

    done = run(built)

    assert done.xcoms("pack") == [5, 6, 7]
    assert orders.counts().consumed == 3


@pytest.mark.parametrize("is_mapped", [False, True])
def test_a_list_of_values_arrives_as_a_list_of_messages(
    run: Run, orders: Queue, *, is_mapped: bool
) -> None:
    with dag(f"list_{is_mapped}") as built:

        @task
        def give(number: int) -> Any:
            return exclusive({"order": number}, "orders")

        @task.exclusive
        def pack(orders: list[Message], note: str) -> Any:
            return [note, *(order.payload["order"] for order in orders)]

        pack(give.expand(number=[0, 1, 2]) if is_mapped else produce_three(), note="all")

    done = run(built)

    assert done.xcoms("pack") == [["all", 0, 1, 2]]
    assert orders.counts().consumed == 3


def test_values_in_a_dict_go_to_several_tasks(run: Run, orders: Queue, returns: Queue) -> None:
    with dag("outputs") as built:

        @task(multiple_outputs=True)
        def give() -> dict[str, Any]:
            return {"a": exclusive("A", "orders"), "b": exclusive("B", "returns"), "c": 1}

        @task.exclusive
        def pack(order: Message, number: int) -> Any:
            return f"{order.payload}{number}"

        @task.exclusive
        def unpack(everything: dict[str, Any]) -> Any:
            return sorted(everything)

        given = give()
        pack(given["a"], number=given["c"])
        pack.override(task_id="pack_b")(given["b"], number=given["c"])

    done = run(built)

    assert done.xcoms("pack") + done.xcoms("pack_b") == ["A1", "B1"]
    assert (orders.counts().consumed, returns.counts().consumed) == (1, 1)


def test_an_exception_releases_the_message_and_the_retry_has_it_again(
    run: Run, orders: Queue
) -> None:
    with dag("raises") as built:

        @task.exclusive
        def pack(order: Message) -> Any:
            if order.attempts < 3:
                raise ValueError(f"attempt {order.attempts}")
            return order.last_error

        pack(produce())

    done = run(built)

    assert done.state == "success"
    assert done.xcoms("pack") == ["ValueError: attempt 2"]
    assert orders.counts().consumed == 1


def test_a_plain_task_claims_in_a_block(run: Run, orders: Queue) -> None:
    with dag("block") as built:

        @task
        def pack(order: Any) -> Any:
            with order as claim:
                counts = orders.counts()
                return [claim.payload, counts.claimed, counts.consumed]

        pack(produce())

    done = run(built)

    assert done.xcoms("pack") == [[{"order": 4711}, 1, 0]]
    assert orders.counts().consumed == 1


def test_reading_the_xcom_claims_nothing(run: Run, orders: Queue) -> None:
    with dag("read") as built:

        @task
        def look(order: Any, **context: Any) -> Any:
            pulled = context["ti"].xcom_pull(task_ids=["produce", "produce"])
            return [str(order), [each == order for each in pulled]]

        @task
        def render(text: str) -> str:
            return text

        given = produce()
        look(given)
        look.override(task_id="again")(given)
        given >> render("{{ ti.xcom_pull('produce').queue }}")

    done = run(built)

    (message,) = orders.peek()
    assert done.xcoms("render") == ["orders"]
    shown = f"ExclusiveValue(queue='orders', message_id={message.id})"
    assert done.xcoms("look") == done.xcoms("again") == [[shown, [True, True]]]
    assert (message.attempts, orders.counts().available) == (0, 1)


def test_a_second_task_is_told_who_had_it(run: Run, orders: Queue) -> None:
    with dag("second") as built:

        @task.exclusive(retries=0)
        def pack(order: Message) -> Any:
            return order.payload

        @task(retries=0, trigger_rule="all_done")
        def also(order: Any) -> str:
            with pytest.raises(ExclusiveValueLostError) as caught, order:
                pass
            return str(caught.value)

        given = produce()
        pack(given) >> also(given)

    done = run(built)

    (told,) = done.xcoms("also")
    assert "was consumed by hand_over_second/manual" in told
    assert "/pack#1@" in told
    assert orders.counts().consumed == 1


def test_an_error_says_who_holds_it_or_where_it_went(orders: Queue) -> None:
    with within_task():
        held, gone, dead = (returned(exclusive(n, "orders"), key=str(n)) for n in range(3))
    orders.withdraw([str(message.unique_key) for message in orders.peek(9) if message.payload == 1])
    claim = orders.claim_message(held.message_id, claimed_by="somebody")
    buried = orders.claim_message(dead.message_id)
    assert claim is not None
    assert buried is not None
    orders.release(buried, delay=timedelta(hours=1))

    with within_task(task_id="other"):
        with pytest.raises(ExclusiveValueLostError, match="is held by somebody until 20"), held:
            pass
        with pytest.raises(ExclusiveValueLostError, match="is not there any more"), gone:
            pass
        with pytest.raises(ExclusiveValueLostError, match="is delayed until 20"), dead:
            pass


def test_of_several_values_all_are_claimed_or_none(orders: Queue) -> None:
    with within_task():
        values = returned([exclusive(number, "orders") for number in range(3)])
    orders.claim_message(values[2].message_id, claimed_by="somebody")

    with within_task(task_id="other"), pytest.raises(ExclusiveValueLostError):  # noqa: SIM117
        with consume_values(values):
            pass

    assert (orders.counts().available, orders.counts().claimed) == (2, 1)
    assert [message.attempts for message in orders.peek(9)] == [0, 0]


def test_a_retry_whose_earlier_try_consumed_the_value_has_nothing_to_do(orders: Queue) -> None:
    with within_task(task_id="produce"):
        value = returned(exclusive(1, "orders"))
    with within_task(), value:
        pass

    with within_task(try_number=2), value as claim:
        assert claim is None
    assert orders.counts().consumed == 1


def test_a_retry_of_the_decorated_task_is_skipped_then(run: Run, orders: Queue) -> None:
    with dag("acked") as built:

        @task.exclusive
        def pack(order: Message) -> Any:
            return order.payload

        def fail_once(context: Any, result: Any) -> None:  # noqa: ARG001  (as Airflow calls it)
            if context["ti"].try_number == 1:
                raise ValueError("after the ack")

        pack.override(post_execute=fail_once)(produce())

    done = run(built)

    assert done.states("pack") == {"skipped": 1}
    assert done.tries("pack") == [2]
    assert orders.counts().consumed == 1


def test_a_retry_takes_the_message_back_from_a_try_that_was_killed(orders: Queue) -> None:
    with within_task(task_id="produce"):
        value = returned(exclusive(1, "orders"))
    with within_task():
        killed = consume_values([value])
        killed.__enter__()

    with within_task(try_number=2), value as claim:
        assert claim is not None
        assert claim.message.attempts == 2
    assert orders.counts().consumed == 1


def test_a_retry_pushes_nothing_twice(run: Run, orders: Queue) -> None:
    with dag("push_twice") as built:

        @task
        def give(**context: Any) -> Any:
            context["ti"].xcom_push("early", [exclusive(number, "orders") for number in "ab"])
            if context["ti"].try_number < 3:
                raise ValueError("again")
            return exclusive("c", "orders")

        give()

    done = run(built)

    assert done.tries("give") == [3]
    assert sorted(message.payload for message in orders.peek(9)) == ["a", "b", "c"]


def test_a_retry_with_another_value_replaces_what_nobody_took(orders: Queue) -> None:
    with within_task():
        before = returned([exclusive("a", "orders"), exclusive("b", "orders")])
    with within_task(try_number=2):
        after = returned([exclusive("a", "orders"), exclusive("other", "orders")])

    assert after[0] == before[0]
    assert sorted(message.payload for message in orders.peek(9)) == ["a", "other"]


def test_a_retry_with_another_value_is_refused_if_the_former_was_taken(orders: Queue) -> None:
    with within_task():
        returned(exclusive("a", "orders"))
    orders.claim()

    with within_task(try_number=2), pytest.raises(DuplicateMessageError):
        returned(exclusive("other", "orders"))


def test_a_cleared_task_pushes_another_value_anew_and_the_same_one_not(orders: Queue) -> None:
    with within_task():
        before = returned([exclusive("a", "orders"), exclusive("b", "orders")])
    with within_task(task_id="other"), consume_values(before):
        pass

    with within_rerun():
        after = returned([exclusive("a", "orders"), exclusive("other", "orders")])
    with within_rerun(try_number=5):
        again = returned([exclusive("a", "orders"), exclusive("other", "orders")])

    assert after[0] == before[0]
    assert after == again
    assert (orders.counts().consumed, orders.counts().available) == (2, 1)


def replaced_by_a_rerun() -> ExclusiveValue:
    """Return the value that a task handed over and another consumed; its rerun pushed "b"."""
    with within_task():
        before = returned(exclusive("a", "orders"))
    with within_task(task_id="other"), before:
        pass
    with within_rerun():
        returned(exclusive("b", "orders"))
    value: ExclusiveValue = before
    return value


@pytest.mark.parametrize("last", ["a", "b", "c"])
def test_what_a_rerun_pushed_is_withdrawn_when_the_task_is_cleared_again(
    orders: Queue, last: str
) -> None:
    before = replaced_by_a_rerun()

    with within_task(7, max_tries=6 + RETRIES):
        after = returned(exclusive(last, "orders"))

    assert (after == before) == (last == "a")
    assert [message.payload for message in orders.peek(9)] == ([] if last == "a" else [last])


@pytest.mark.parametrize("last", ["a", "b", "c"])
def test_what_a_try_of_a_rerun_pushed_anew_is_withdrawn_by_its_retry(
    orders: Queue, last: str
) -> None:
    before = replaced_by_a_rerun()

    with within_rerun(try_number=5):
        after = returned(exclusive(last, "orders"))

    assert (after == before) == (last == "a")
    assert [message.payload for message in orders.peek(9)] == ([] if last == "a" else [last])


def test_a_retry_of_a_rerun_is_refused_if_what_that_pushed_anew_was_taken(orders: Queue) -> None:
    with within_task():
        returned(exclusive("a", "orders"))
    orders.claim()
    with within_rerun():
        returned(exclusive("b", "orders"))
    orders.claim()

    with within_rerun(try_number=5), pytest.raises(DuplicateMessageError):
        returned(exclusive("c", "orders"))


@pytest.mark.parametrize("length", [1, 959, 2_000])  # 959: of a first key of 1,000 bytes
def test_a_task_with_a_long_name_pushes_anew_what_was_taken(orders: Queue, length: int) -> None:
    run_id = "r" * length
    with within_task(run_id=run_id):
        returned(exclusive("a", "orders"))
    orders.claim()

    with within_rerun(run_id=run_id):
        returned(exclusive("b", "orders"))
    with within_rerun(try_number=5, run_id=run_id):
        returned(exclusive("c", "orders"))

    (message,) = orders.peek(9)
    assert message.payload == "c"
    assert str(message.unique_key).endswith("/exclusive/0#4")


@pytest.mark.parametrize("try_number", [2, 4])
def test_values_that_a_later_try_does_not_return_are_withdrawn(
    orders: Queue, returns: Queue, try_number: int
) -> None:
    again = within_task if try_number == 2 else within_rerun
    with within_task():
        first, *_ = returned([exclusive(text, "orders") for text in "abc"])

    with again(try_number):
        after = returned([exclusive("a", "orders"), exclusive("b", "returns")])

    assert after[0] == first
    assert [message.payload for message in orders.peek(9)] == ["a"]
    assert [message.payload for message in returns.peek(9)] == ["b"]


def test_one_value_in_several_places_is_one_message(orders: Queue) -> None:
    with within_task():
        value = exclusive("a", "orders")
        first, second = returned([value, {"same": value}])

    assert first == second["same"]
    assert orders.counts().available == 1


def test_a_value_that_is_passed_on_stays_the_same_message(run: Run, orders: Queue) -> None:
    with dag("passed_on") as built:

        @task
        def choose(given: list[Any]) -> Any:
            return given[1]

        @task.exclusive
        def pack(order: Message) -> Any:
            return order.payload

        pack(choose(produce_three()))

    done = run(built)

    assert done.xcoms("pack") == [{"order": 1}]
    assert (orders.counts().consumed, orders.counts().available) == (1, 2)


def test_without_our_backend_the_task_fails_and_says_what_to_set() -> None:
    with within_task(), pytest.raises(InvalidArgumentError, match=r"set \[core\] xcom_backend"):
        BaseXCom.serialize_value([exclusive(1)])


def test_outside_of_a_task_there_are_no_exclusive_values() -> None:
    with pytest.raises(InvalidArgumentError, match="for the value that a running task returns"):
        exclusive(1)


def test_a_value_that_is_not_pushed_yet_cannot_be_claimed() -> None:
    with within_task():
        value = exclusive("secret", "orders")

    with pytest.raises(InvalidArgumentError, match="is not pushed yet"), value:
        pass
    assert "secret" not in repr(value)


def test_a_block_within_a_block_of_the_same_value_is_refused(orders: Queue) -> None:
    with within_task():
        value = returned(exclusive(1, "orders"))

        with value as claim:
            assert isinstance(claim, Claim)
            with pytest.raises(InvalidArgumentError, match="claimed by this block already"), value:
                pass
    assert orders.counts().consumed == 1


@pytest.mark.parametrize(
    "data", [{}, {"queue": 1, "message_id": 1, "xclaim_conn_id": "a"}, {"queue": "orders"}]
)
def test_a_forged_place_is_refused(data: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgumentError, match="not the place"):
        ExclusiveValue.deserialize(data, 0)


def test_a_large_value_is_an_object_that_its_message_owns(
    run: Run, orders: Queue, xcom_folder: Path
) -> None:
    with dag("large") as built:

        @task
        def give() -> Any:
            return exclusive(pd.DataFrame({"number": range(10_000)}), "orders")

        @task.exclusive
        def pack(order: Message) -> int:
            return int(order.payload["number"].sum())

        pack(give())

    done = run(built)

    assert done.xcoms("pack") == [sum(range(10_000))]
    assert orders.counts().consumed == 1
    (path,) = [path for path in xcom_folder.rglob("*") if path.is_file()]
    assert path.parent == xcom_folder / "orders"


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("XCLAIM_MAX_IN_ROW", "10000"),
        ("XCLAIM_STORAGE_THRESHOLD", "1000"),
        ("XCLAIM_ALLOW_UNENCRYPTED", "true"),
        ("XCLAIM_FERNET_KEYS", KEY),
        ("XCLAIM_STORAGE", "file://{folder}/of-the-environment"),
        ("extra", "xclaim_max_in_row=10000"),
        ("extra", "xclaim_storage_threshold=1000"),
        ("extra", "xclaim_allow_unencrypted=false"),
        ("extra", "xclaim_storage=file://{folder}/of-the-connection"),
    ],
)
def test_a_setting_takes_neither_encryption_nor_storage_off_a_value(
    orders: Queue,
    connected: str,
    xcom_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
    value: str,
) -> None:
    configure_xcoms(monkeypatch, encryption="airflow")
    monkeypatch.setenv("AIRFLOW__CORE__FERNET_KEY", OTHER_KEY)
    value = value.format(folder=xcom_folder)
    if variable == "extra":
        uri = connection_uri(connected)
        uri += f"{'&' if '?' in uri else '?'}{quote(value, safe='=')}"
        monkeypatch.setenv("AIRFLOW_CONN_XCLAIM_DEFAULT", uri)
    else:
        monkeypatch.setenv(variable, value)

    with within_task():
        returned(exclusive("x" * 20_000, "orders"))

    (message,) = orders.peek()
    key = KEY if variable == "XCLAIM_FERNET_KEYS" else OTHER_KEY
    assert message.codec == "json+fernet"
    assert message.stored["key"] == Keys(key).primary_id
    assert message.stored["uri"].startswith(f"file://{xcom_folder}/")


def test_an_object_that_only_airflow_can_write_is_handed_over(run: Run) -> None:
    asset = Asset(name="orders", uri="s3://bucket/orders")
    with dag("serde") as built:

        @task
        def give() -> Any:
            return exclusive(asset, "orders")

        @task.exclusive
        def pack(order: Message) -> bool:
            return bool(order.payload == asset)

        pack(give())

    assert run(built).xcoms("pack") == [True]


@pytest.mark.parametrize("options", [{"batch": 2}, {"drain": True}, {"argument": "order"}])
def test_options_of_a_queue_need_the_queue(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgumentError, match="needs queue_name="):

        @task.exclusive(**options)
        def pack(order: Message) -> None: ...


def test_a_call_without_an_exclusive_value_fails_the_task(run: Run) -> None:
    with dag("none") as built:

        @task.exclusive(retries=0)
        def pack(order: Message) -> None: ...

        pack(1)

    assert run(built).states("pack") == {"failed": 1}


def test_a_value_is_not_acked_before_the_work_on_it_has_begun(run: Run, orders: Queue) -> None:
    with dag("begun") as built:

        @task
        def order() -> ExclusiveValue:
            return exclusive(1, "orders")

        @task.exclusive(retries=0, do_xcom_push=False)
        def pack(order: Message) -> Any:
            return (each for each in [order])

        pack(order())

    done = run(built)

    assert done.states("pack") == {"failed": 1}
    assert orders.counts().consumed == 0


def test_a_call_without_arguments_is_refused_when_the_file_is_parsed() -> None:
    with pytest.raises(InvalidArgumentError, match="pack is passed no exclusive value"), dag("no"):

        @task.exclusive
        def pack(message: Message) -> None: ...

        pack()


def test_who_says_queue_and_means_queue_name_is_told_so() -> None:
    said = r"queue_name=...\); queue=... is Airflow's own"
    with pytest.raises(InvalidArgumentError, match=said), dag("no"):

        @task.exclusive(queue="orders")
        def pack(message: Message) -> None: ...

        pack()


def test_an_async_function_is_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="pack is async"):

        @task.exclusive
        async def pack(order: Message) -> None: ...
