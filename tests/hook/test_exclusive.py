"""`@task.exclusive`, run by Airflow."""

# mypy: disable-error-code="untyped-decorator"

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Generator, Iterator
from typing import Any

from xclaim.airflow.versions import AirflowRescheduleException

import pytest
from airflow import sdk
from airflow.sdk import timezone

from tests.hook.conftest import DagRun, dags
from xclaim import InvalidArgumentError, Message, Queue

pytestmark = pytest.mark.airflow

Run = Callable[..., DagRun]
task: Any = sdk.task  # its decorators are found at run time
dag = dags("exclusive", retries=2)


@pytest.fixture
def queue(connected: str) -> Any:
    with Queue("orders", connected) as queue:
        yield queue


def test_the_function_gets_the_message_and_its_value_goes_into_an_xcom(
    run: Run, queue: Queue
) -> None:
    queue.push({"order": 4711})
    with dag("one") as built:

        @task.exclusive(queue_name="orders")
        def pack(message: Message) -> dict[str, Any]:
            return {"order": message.payload["order"], "attempts": message.attempts}

        pack()

    done = run(built)

    assert done.xcoms("pack") == [{"order": 4711, "attempts": 1}]
    assert queue.counts().consumed == 1


@pytest.mark.parametrize(
    ("on_empty", "state", "tries"), [("skip", "skipped", 1), ("succeed", "success", 1)]
)
def test_an_empty_queue_ends_the_task_as_asked(
    run: Run, on_empty: str, state: str, tries: int
) -> None:
    with dag(f"empty_{on_empty}") as built:

        @task.exclusive(queue_name="orders", on_empty=on_empty)
        def pack(message: Message) -> int:
            return message.id

        pack()

    done = run(built)

    assert done.states("pack") == {state: 1}
    assert done.tries("pack") == [tries]


def test_an_empty_queue_can_fail_the_task(run: Run) -> None:
    with dag("empty_fail") as built:

        @task.exclusive(queue_name="orders", on_empty="fail")
        def pack(message: Message) -> int:
            return message.id

        pack()

    done = run(built)

    assert done.states("pack") == {"failed": 1}


def test_an_exception_releases_the_message_with_it_and_the_retry_claims_it(
    run: Run, queue: Queue
) -> None:
    pushed = queue.push("poison")
    with dag("raises") as built:

        @task.exclusive(queue_name="orders")
        def pack(message: Message) -> str | None:
            if message.attempts < 3:
                raise ValueError(f"attempt {message.attempts}")
            return message.last_error

        pack()

    done = run(built)

    assert done.state == "success"
    assert done.xcoms("pack") == ["ValueError: attempt 2"]
    message = queue.get(pushed.id)
    assert message is not None
    assert message.attempts == 3


def test_a_poison_message_ends_in_the_dead_letter_queue(run: Run, queue: Queue) -> None:
    queue.push("poison", max_attempts=2)
    with dag("poison") as built:

        @task.exclusive(queue_name="orders")
        def pack(message: Message) -> None:
            raise ValueError(f"always {message.id}")

        pack()

    done = run(built)

    assert done.states("pack") == {"failed": 1}
    assert done.tries("pack") == [2]
    assert queue.counts().dead_letters == 1


def test_mapped_tasks_share_the_messages_out(run: Run, queue: Queue) -> None:
    queue.push_many(list(range(5)))
    with dag("mapped") as built:

        @task.exclusive(queue_name="orders")
        def pack(worker: int, message: Message, shelf: str) -> str:
            return f"{shelf}{worker}:{message.payload}"

        pack.partial(shelf="A").expand(worker=list(range(7)))

    done = run(built)

    assert done.states("pack") == {"success": 5, "skipped": 2}
    values = [value.split(":") for value in done.xcoms("pack")]
    assert len({shelf for shelf, _ in values}) == 5
    assert sorted(message for _, message in values) == list("01234")


def test_override_changes_the_queue_and_the_name(run: Run, connected: str) -> None:
    with Queue("returns", connected) as returns:
        returns.push("back")
        with dag("override") as built:

            @task.exclusive(queue_name="orders", argument="order")
            def pack(order: Message) -> Any:
                return order.payload

            pack.override(task_id="unpack", queue_name="returns")()

        done = run(built)

    assert done.xcoms("unpack") == ["back"]


def test_a_batch_is_passed_as_a_list(run: Run, queue: Queue) -> None:
    queue.push_many(list(range(5)))
    with dag("batch") as built:

        @task.exclusive(queue_name="orders", batch=3)
        def pack(messages: list[Message]) -> list[int]:
            return [message.payload for message in messages]

        pack()

    done = run(built)

    assert done.xcoms("pack") == [[0, 1, 2]]
    assert (queue.counts().consumed, queue.counts().available) == (3, 2)


def test_drain_goes_on_until_the_queue_is_empty(run: Run, queue: Queue) -> None:
    queue.push_many(list(range(7)))
    with dag("drain") as built:

        @task.exclusive(queue_name="orders", batch=3, drain=True)
        def pack(messages: list[Message]) -> int | None:
            return len(messages) if len(messages) > 1 else None

        pack()

    done = run(built)

    assert done.xcoms("pack") == [[3, 3]]
    assert queue.counts().consumed == 7


@pytest.mark.parametrize("is_mapped", [False, True])
def test_a_drain_returns_the_list_of_what_a_function_returns_that_says_dict(
    run: Run, queue: Queue, is_mapped: bool
) -> None:
    queue.push_many([1, 2])
    with dag(f"drain_dicts_{is_mapped}") as built:

        @task.exclusive(queue_name="orders", drain=True)
        def pack(message: Message, worker: int) -> dict[str, Any]:
            return {"order": message.payload, "by": worker}

        pack.expand(worker=[1]) if is_mapped else pack(worker=1)

    done = run(built)

    assert done.states("pack") == {"success": 1}
    assert done.xcoms("pack") == [[{"order": 1, "by": 1}, {"order": 2, "by": 1}]]


def test_a_drain_does_not_unroll_dicts() -> None:
    with pytest.raises(InvalidArgumentError, match="drain=True returns a list"):

        @task.exclusive(queue_name="orders", drain=True, multiple_outputs=True)
        def pack(message: Message) -> None: ...


def test_drain_stops_when_the_time_is_up(run: Run, queue: Queue) -> None:
    queue.push_many(list(range(7)))
    with dag("drain_time") as built:

        @task.exclusive(queue_name="orders", drain=True, max_seconds=0.000001)
        def pack(message: Message) -> int:
            return int(message.payload)

        pack()

    done = run(built)

    assert done.xcoms("pack") == [[0]]
    assert queue.counts().available == 6


def test_a_sigterm_begins_no_further_message(run: Run, queue: Queue) -> None:
    queue.push_many(list(range(7)))
    with dag("drain_kill") as built:

        @task.exclusive(queue_name="orders", drain=True)
        def pack(message: Message, **context: Any) -> int:
            if message.payload == 2:
                context["task"].on_kill()
            return int(message.payload)

        pack()

    done = run(built)

    assert done.xcoms("pack") == [[0, 1, 2]]
    assert queue.counts().consumed == 3


def test_an_exception_in_a_drain_keeps_what_was_done(run: Run, queue: Queue) -> None:
    queue.push_many(list(range(4)))
    with dag("drain_raises") as built:

        @task.exclusive(queue_name="orders", drain=True)
        def pack(message: Message) -> int:
            if message.payload == 2 and message.attempts == 1:
                raise ValueError("boom")
            return int(message.payload)

        pack()

    done = run(built)

    assert done.xcoms("pack") == [[2, 3]]  # of the second try
    assert queue.counts().consumed == 4


def test_the_queue_name_is_a_template(run: Run, queue: Queue) -> None:
    queue.push(1)
    with dag("template") as built:

        @task.exclusive(queue_name="{{ 'orders' }}")
        def pack(message: Message) -> str:
            return message.queue

        pack()

    done = run(built)

    assert done.xcoms("pack") == ["orders"]


def test_a_missing_parameter_is_refused_when_the_file_is_parsed() -> None:
    with pytest.raises(InvalidArgumentError, match=r"pack\(order\) has no parameter 'message'"):

        @task.exclusive(queue_name="orders")
        def pack(order: Message) -> None: ...


def test_a_parameter_that_airflow_fills_in_is_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="'ti' is a key of Airflow's context"):

        @task.exclusive(queue_name="orders", argument="ti")
        def pack(ti: Message) -> None: ...


def test_an_async_function_is_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="pack is async"):

        @task.exclusive(queue_name="orders")
        async def pack(message: Message) -> None: ...


def test_an_async_generator_is_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="pack is async"):

        @task.exclusive(queue_name="orders")
        async def pack(message: Message) -> AsyncIterator[int]:
            yield message.id


async def _later(message: Message) -> int:
    return message.id


def _bit_by_bit(message: Message) -> Iterator[int]:
    yield message.id


@pytest.mark.parametrize("work", [_later, _bit_by_bit])
@pytest.mark.parametrize("drain", [False, True])
def test_a_message_is_not_acked_before_the_work_on_it_has_begun(
    run: Run, queue: Queue, work: Callable[[Message], Any], drain: bool
) -> None:
    queue.push(1)
    with dag(f"begun_{work.__name__}_{drain}", retries=0) as built:

        @task.exclusive(queue_name="orders", drain=drain, do_xcom_push=False)
        def pack(message: Message) -> Any:
            return work(message)

        pack()

    done = run(built)

    assert done.states("pack") == {"failed": 1}
    assert (queue.counts().consumed, queue.counts().delayed) == (0, 1)


def test_a_generator_function_is_run_to_its_end(run: Run, queue: Queue) -> None:
    queue.push(1)
    with dag("generator") as built:

        @task.exclusive(queue_name="orders")
        def pack(message: Message) -> Generator[None, None, Any]:
            yield
            return message.payload

        pack()

    done = run(built)

    assert done.xcoms("pack") == [1]
    assert queue.counts().consumed == 1


@pytest.mark.parametrize("on_error", ["retry", "continue"])
def test_a_drain_that_is_put_off_ends(run: Run, queue: Queue, on_error: str) -> None:
    queue.push_many([1, 2])
    calls: list[int] = []
    with dag(f"drain_put_off_{on_error}") as built:

        @task.exclusive(queue_name="orders", drain=True, on_error=on_error)
        def pack(message: Message) -> None:
            calls.append(message.id)
            if len(calls) == 1:
                now = timezone.utcnow()
                raise AirflowRescheduleException(now)  # type: ignore[no-untyped-call]
            assert message.attempts == 1

        pack()

    done = run(built)

    assert done.states("pack") == {"success": 1}
    assert len(calls) == 3
    assert queue.counts().consumed == 2


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"batch": 0}, "batch must lie between 1"),
        ({"batch": "3"}, "batch must be an int"),
        ({"on_empty": "wait"}, "on_empty is one of skip, succeed, fail"),
        ({"max_seconds": 5}, "limits drain=True only"),
        ({"max_seconds": 0, "drain": True}, "must be a positive number"),
    ],
)
def test_bad_options_are_refused_when_the_file_is_parsed(
    options: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(InvalidArgumentError, match=complaint):

        @task.exclusive(queue_name="orders", **options)
        def pack(message: Message, messages: Message) -> None: ...


def test_passing_the_message_oneself_is_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="is filled in with the message"), dag("given"):

        @task.exclusive(queue_name="orders")
        def pack(message: Message) -> None: ...

        pack(message=1)


def test_the_workers_of_a_task_are_chosen_as_for_any_other() -> None:
    with dag("workers") as built:

        @task.exclusive(queue_name="orders", queue="large-machines")
        def pack(message: Message) -> None: ...

        pack()

    packing = built.get_task("pack")
    assert packing.queue == "large-machines"
    assert getattr(packing, "queue_name", None) == "orders"
