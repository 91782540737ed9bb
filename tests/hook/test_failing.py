"""What becomes of a task, and of its message, when its work fails; run by Airflow."""

# mypy: disable-error-code="untyped-decorator"

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext, suppress
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

from xclaim.airflow.versions import AirflowFailException

import pytest
from airflow import sdk

from tests.eventually import until
from tests.hook.conftest import RETRIES, DagRun, dags, within_rerun, within_task
from tests.retrying import AT_ONCE, waiting
from xclaim import InvalidArgumentError, Message, MessagesFailedError, Queue, Retry
from xclaim.airflow.hooks import XclaimHook
from xclaim.airflow.tasks import failing, open_claims
from xclaim.airflow.tasks.failing import until_retry
from xclaim.airflow.tasks.identity import running_instance
from xclaim.airflow.tasks.task_queue import TaskQueue

pytestmark = pytest.mark.airflow

Run = Callable[..., DagRun]
task: Any = sdk.task  # its decorators are found at run time
BAD = 5
dag = dags("failing", retries=2)


@pytest.fixture
def orders(connected: str) -> Iterator[Queue]:
    with Queue("orders", connected) as queue:
        yield queue


def work_on(message: Message) -> int:
    if message.payload == BAD:
        raise ValueError("cannot be worked on")
    return message.id


def counts(queue: Queue) -> tuple[int, int, int, int]:
    found = queue.counts()
    return found.consumed, found.dead_letters, found.delayed, found.available + found.claimed


@pytest.mark.parametrize("way", ["retry", "continue"])
def test_one_bad_message_of_many_makes_one_task_red(run: Run, orders: Queue, way: str) -> None:
    orders.push_many(list(range(20)))
    with dag(f"one_bad_{way}") as built:

        @task.exclusive(queue_name="orders", drain=True, on_error=way)
        def pack(worker: int, message: Message) -> int:
            return work_on(message) + worker

        pack.expand(worker=list(range(3)))

    done = run(built)

    assert done.state == "failed"
    assert done.states("pack")["failed"] == 1
    assert counts(orders) == (19, 0, 1, 0)


def test_a_task_gets_the_message_back_that_it_failed_with(run: Run, orders: Queue) -> None:
    orders.push_many([BAD, 1])
    seen: list[tuple[int, int]] = []
    with dag("back") as built:

        @task.exclusive(queue_name="orders")
        def pack(message: Message) -> int:
            seen.append((message.payload, message.attempts))
            if message.attempts < 3:
                raise ValueError("not yet")
            return message.id

        pack()

    assert run(built).state == "success"
    assert seen == [(BAD, 1), (BAD, 2), (BAD, 3)]
    assert counts(orders) == (1, 0, 0, 1)


def test_a_message_that_is_released_is_for_others(run: Run, orders: Queue) -> None:
    orders.push_many([BAD, 1])
    with dag("release") as built:

        @task.exclusive(queue_name="orders", on_error="release")
        def pack(message: Message) -> int:
            return work_on(message)

        pack()

    done = run(built)

    assert done.xcoms("pack") == [orders.get(2).id]  # type: ignore[union-attr]
    assert counts(orders) == (1, 0, 1, 0)


@pytest.mark.parametrize("drain", [False, True])
def test_a_dead_letter_fails_its_task_at_once(run: Run, orders: Queue, *, drain: bool) -> None:
    orders.push(BAD, max_attempts=2)
    with dag(f"dead_{drain}", retries=5) as built:

        @task.exclusive(queue_name="orders", drain=drain)
        def pack(message: Message) -> int:
            return work_on(message)

        pack()

    done = run(built)

    assert done.states("pack") == {"failed": 1}
    assert done.tries("pack") == [2]
    assert counts(orders) == (0, 1, 0, 0)


def test_a_dead_letter_can_be_ignored(run: Run, orders: Queue) -> None:
    orders.push_many([BAD, 1])
    with dag("ignored") as built:

        @task.exclusive(
            queue_name="orders", drain=True, on_dead="ignore", retry=Retry(max_attempts=1)
        )
        def pack(message: Message) -> int:
            return work_on(message)

        pack()

    assert run(built).state == "success"
    assert counts(orders) == (1, 1, 0, 0)


def test_a_drain_that_continues_names_what_failed(run: Run, orders: Queue) -> None:
    pushed = orders.push_many([BAD, 1, BAD, 2])
    seen: list[int] = []
    with dag("names", retries=1) as built:

        @task.exclusive(queue_name="orders", drain=True, on_error="continue")
        def pack(message: Message) -> int:
            seen.append(message.id)
            return work_on(message)

        pack()

    assert run(built).states("pack") == {"failed": 1}
    assert counts(orders) == (2, 0, 2, 0)
    bad = [pushed[0].id, pushed[2].id]
    assert seen == [each.id for each in pushed] + bad  # the retry has only what failed
    assert [len(orders.failures(id_)) for id_ in bad] == [2, 2]


def test_a_retry_of_a_drain_that_continued_goes_on(run: Run, orders: Queue) -> None:
    orders.push_many([BAD, 1])
    with dag("goes_on") as built:

        @task.exclusive(queue_name="orders", drain=True, on_error="continue")
        def pack(message: Message) -> int:
            if message.attempts == 1:
                return work_on(message)
            return message.id

        pack()

    assert run(built).state == "success"
    assert counts(orders) == (2, 0, 0, 0)


def test_of_a_batch_only_what_failed_comes_back(run: Run, orders: Queue) -> None:
    orders.push_many([1, BAD, 2, BAD, 3])
    sizes: list[int] = []
    with dag("batch") as built:

        @task.exclusive(queue_name="orders", batch=10, on_error="continue")
        def pack(messages: list[Message]) -> list[int]:
            sizes.append(len(messages))
            bad = [each.id for each in messages if each.payload == BAD and each.attempts == 1]
            if bad:
                raise MessagesFailedError(dict.fromkeys(bad, "not yet"))
            return [each.id for each in messages]

        pack()

    assert run(built).state == "success"
    assert sizes == [5, 2]
    assert counts(orders) == (5, 0, 0, 0)


def test_an_exclusive_value_stays_with_the_task_that_failed_with_it(
    run: Run, orders: Queue, xcom_folder: object
) -> None:
    from xclaim.airflow.xcom import exclusive

    assert xcom_folder
    with dag("value") as built:

        @task
        def make() -> Any:
            return exclusive("parcel", "orders")

        @task.exclusive
        def use(message: Message) -> int:
            if message.attempts == 1:
                raise ValueError("not yet")
            return message.attempts

        use(make())

    done = run(built)

    assert done.xcoms("use") == [2]
    assert counts(orders) == (1, 0, 0, 0)


def test_the_blocks_of_the_hook_keep_for_the_retry_and_go_on(run: Run, orders: Queue) -> None:
    orders.push_many([BAD, 1, 2])
    with dag("blocks") as built:

        @task
        def pack() -> int:
            queue = XclaimHook().queue("orders")
            done = 0
            while True:
                try:
                    with queue.consume() as claimed:
                        if claimed is None:
                            return done
                        work_on(claimed.message)
                        done += 1
                except ValueError:
                    continue

        pack()

    done = run(built)

    assert done.xcoms("pack") == [2]
    assert counts(orders) == (2, 0, 1, 0)  # given back when the task was a success


def test_a_stream_that_raises_is_gone_on_with_by_the_retry(run: Run, orders: Queue) -> None:
    orders.push_many([1, BAD, 2])
    tries: list[list[int]] = []
    with dag("stream") as built:

        @task
        def pack() -> None:
            tries.append([])
            for claimed in XclaimHook().queue("orders").stream(batch=2):
                tries[-1].append(claimed.payload)
                if claimed.message.attempts == 1:
                    work_on(claimed.message)

        pack()

    assert run(built).state == "success"
    assert tries == [[1, BAD], [BAD, 2]]
    assert counts(orders) == (3, 0, 0, 0)
    assert [each.error for each in orders.failures(2)] == ["ValueError: cannot be worked on"]


def test_what_a_stream_releases_into_the_dead_letters_fails_the_task(
    run: Run, orders: Queue
) -> None:
    orders.push_many([1, BAD, 2])
    with dag("dead_in_stream") as built:

        @task
        def pack() -> None:
            queue = XclaimHook().queue("orders", retry=Retry(max_attempts=1))
            for claimed in queue.stream():
                try:
                    work_on(claimed.message)
                except ValueError as error:
                    queue.release(claimed, error=error)

        pack()

    done = run(built)

    assert done.states("pack") == {"failed": 1}
    assert counts(orders) == (2, 1, 0, 0)


@pytest.mark.parametrize("way", ["consume", "claim", "stream"])
def test_without_a_retry_nothing_stays_with_the_task(run: Run, orders: Queue, way: str) -> None:
    orders.push_many([1, 2, 3])
    with dag(f"final_{way}") as built:

        @task
        def pack() -> None:
            queue = XclaimHook().queue("orders")
            with suppress(ValueError), queue.consume():
                raise ValueError("caught")  # kept until the task ends
            if way == "consume":
                with queue.consume():
                    raise AirflowFailException("over")
            if way == "claim":
                queue.claim()
            else:
                stream = queue.stream(batch=1)
                next(stream)
            raise AirflowFailException("over")

        pack()

    done = run(built)

    assert (done.states("pack"), done.tries("pack")) == ({"failed": 1}, [1])
    found = orders.counts()
    assert (found.delayed, found.available, found.claimed) == (2, 1, 0)


def test_what_is_put_off_has_not_failed(queue: TaskQueue) -> None:
    from xclaim.airflow.versions import AirflowRescheduleException, TaskDeferred

    pushed = queue.push(1)
    for error in (
        TaskDeferred(trigger=None, method_name="resume"),
        AirflowRescheduleException(datetime(2026, 1, 1)),  # type: ignore[no-untyped-call]  # noqa: DTZ001
    ):
        with within_task(), pytest.raises(type(error)), queue.consume():
            raise error

    message = queue.get(pushed.id)
    assert message is not None
    assert (message.attempts, message.last_error, queue.failures(pushed.id)) == (0, None, [])
    assert queue.counts().available == 1


@pytest.mark.parametrize("retry", [Retry(), Retry(max_attempts=1)])
def test_a_claim_without_a_block_follows_the_policy(hook: XclaimHook, retry: Retry) -> None:
    way = "retry" if retry.max_attempts == 1 else "release"
    queue = hook.queue("orders", on_error=way, retry=retry)
    queue.push(1)
    with within_task() as _:
        claimed = queue.claim()
        assert claimed is not None
        instance = running_instance()
        open_claims.keep_all(str(instance.id), ValueError("boom"), timedelta(hours=1))

    assert queue.counts().claimed == 0
    assert queue.counts().dead_letters == (retry.max_attempts == 1)


def test_a_dead_letter_of_before_the_task_was_cleared_is_not_this_run_s(queue: TaskQueue) -> None:
    queue.push_many([1, 2, 3], max_attempts=1)
    with within_task(3):
        queue.claim(lease=timedelta(0))
        queue.expire()

    with within_rerun(5):  # the first try after the task was cleared was the fourth
        claimed = queue.claim(lease=timedelta(0))
    assert claimed is not None
    queue.expire()
    with within_rerun(6), pytest.raises(AirflowFailException, match="message 2"):
        queue.claim()


@pytest.mark.parametrize("way", ["dead", "dying"])
@pytest.mark.parametrize("is_new", [False, True])
def test_a_dead_letter_of_before_a_run_was_made_anew_is_not_this_run_s(
    queue: TaskQueue, way: str, *, is_new: bool
) -> None:
    queue.push_many([1, 2], max_attempts=1)
    with within_task():
        queue.claim(lease=timedelta(0) if way == "dead" else timedelta(hours=1))
        queue.expire()
    began = datetime.now(UTC) + timedelta(minutes=2 if is_new else -2)

    with within_task(2):
        context: Any = sdk.get_current_context()
        context["dag_run"] = SimpleNamespace(start_date=began)
        refused = nullcontext() if is_new else pytest.raises(AirflowFailException)
        with refused:
            assert queue.claim() is not None


def test_many_dead_letters_of_before_hide_none_of_now(queue: TaskQueue) -> None:
    queue.push_many(range(12), max_attempts=1)
    with within_task(3):
        queue.claim_many(11, lease=timedelta(0))
        queue.expire()
    with within_rerun():
        queue.claim(lease=timedelta(0))
        queue.expire()

    with within_rerun(5), pytest.raises(AirflowFailException, match="message 12 "):
        queue.claim()


def test_what_dies_in_another_queue_than_its_own_fails_the_task(queue: TaskQueue) -> None:
    queue.push(1, max_attempts=1)
    queue.release(queue.claim_many(1)[0], error="dead")
    queue.keeper.take_dead()
    queue.redrive(to="parcels")
    with within_task():
        parcels = XclaimHook().queue("parcels")
        with pytest.raises(AirflowFailException, match="dead letter"):
            for claimed in parcels.stream():
                parcels.release(claimed, error="again")


def test_who_works_on_dead_letters_may_hand_them_back(queue: TaskQueue, hook: XclaimHook) -> None:
    queue.push(1, max_attempts=1)
    queue.release(queue.claim_many(1)[0], error="dead")

    with within_task():
        dead = hook.queue("orders.dead")
        for claimed in dead.stream():
            dead.release(claimed, count=False)
            break

    assert queue.counts().dead_letters == 1


def test_what_is_kept_is_kept_alive_while_the_task_goes_on(
    hook: XclaimHook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failing, "until_retry", lambda *_: timedelta(seconds=1))
    queue = hook.queue("orders")
    bad, good = queue.push_many([1, 2])
    with within_task():
        with suppress(ValueError), queue.consume():
            raise ValueError("boom")
        claimed = queue.claim()
        assert claimed is not None
        before = queue.get(bad.id)

        def is_extended() -> bool:
            after = queue.get(bad.id)
            assert before is not None
            assert after is not None
            return bool(after.claim_expires_at > before.claim_expires_at)  # type: ignore[operator]

        until(is_extended)
        queue.ack(claimed)
        open_claims.release_all(str(running_instance().id), "over")

    assert (waiting(queue), queue.counts().consumed) == (1, 1)
    assert claimed.message.id == good.id


def test_exclusive_values_of_two_queues_fail_apart(hook: XclaimHook, connected: str) -> None:
    from xclaim.airflow.xcom.exclusive_values import ExclusiveValue, consume_values

    assert connected
    values, ids = [], []
    for name in ("a", "b"):
        message = hook.queue(name).push(name)
        ids.append(message.id)
        values.append(
            ExclusiveValue(queue=name, xclaim_conn_id="xclaim_default", message_id=message.id)
        )

    with within_task(RETRIES + 1), pytest.raises(MessagesFailedError), consume_values(values):
        raise MessagesFailedError({ids[0]: "boom"})

    assert (waiting(hook.queue("a")), hook.queue("b").counts().consumed) == (1, 1)


def test_the_last_try_of_a_drain_has_each_message_once(run: Run, orders: Queue) -> None:
    orders.push_many([BAD, 1, 2])
    seen: list[int] = []
    with dag("last", retries=0) as built:

        @task.exclusive(
            queue_name="orders",
            drain=True,
            on_error="continue",
            retry=Retry(first=timedelta(0), max_attempts=None),
        )
        def pack(message: Message) -> int:
            seen.append(message.payload)
            return work_on(message)

        pack()

    assert run(built).states("pack") == {"failed": 1}
    assert seen == [BAD, 1, 2]
    assert counts(orders) == (2, 0, 0, 1)


@pytest.fixture
def queue(hook: XclaimHook) -> TaskQueue:
    return hook.queue("orders")


@pytest.mark.parametrize("way", ["dead", "dying"])
def test_a_retry_that_finds_its_message_dead_fails(queue: TaskQueue, way: str) -> None:
    queue.push_many([1, 2], max_attempts=1)
    with within_task(lease=None):
        claimed = queue.claim(lease=timedelta(0) if way == "dead" else timedelta(hours=1))
        assert claimed is not None
        assert queue.expire() == (way == "dead")

    with within_task(2), pytest.raises(AirflowFailException, match="1 after 1 attempts"):
        queue.claim()

    assert queue.counts().available == 1  # the other one is for somebody else
    with within_task(1, task_id="another"):
        assert queue.claim() is not None


def test_a_retry_looks_for_its_own_dead_only(queue: TaskQueue, hook: XclaimHook) -> None:
    queue.push_many([1, 2, 3], max_attempts=1)
    with within_task():
        queue.claim(lease=timedelta(0))
        queue.expire()

    with within_task(2, task_id="another"):
        assert queue.claim() is not None
    with within_task(2):
        assert hook.queue("orders", on_dead="ignore").claim() is not None
    queue.redrive()
    with within_task(2):
        assert hook.queue("orders", retry=AT_ONCE).claim() is not None


def test_there_is_nothing_to_keep_for_after_the_last_try(queue: TaskQueue) -> None:
    queue.push(1)

    with within_task(RETRIES + 1), pytest.raises(ValueError, match="boom"), queue.consume():
        raise ValueError("boom")

    assert waiting(queue) == 1


def test_the_log_of_a_task_tells_what_became_of_each_message(
    run: Run, orders: Queue, caplog: pytest.LogCaptureFixture
) -> None:
    with dag("logged") as built:

        @task
        def fill() -> None:
            XclaimHook().queue("orders").push_many([1, BAD, 2], max_attempts=2)

        @task.exclusive(queue_name="orders", drain=True)
        def pack(message: Message) -> int:
            return work_on(message)

        fill() >> pack()

    with caplog.at_level("INFO", logger="xclaim"):
        run(built)

    assert counts(orders) == (1, 1, 0, 1)
    said = [each.getMessage() for each in caplog.records if each.name == "xclaim"]
    for expected in (
        "orders: pushed 3 messages (1, 2, 3)",
        "orders: claimed message 1, attempt 1 of 2, by failing_logged/",
        "orders: acked message 1, attempt 1",
        "orders: message 2 failed (ValueError) in attempt 1 of 2, kept for another try of",
        "orders: claimed message 2, attempt 2 of 2, by failing_logged/",
        "orders: message 2 failed (ValueError) in attempt 2 of 2, a dead letter in orders.dead now",
    ):
        assert any(each.startswith(expected) for each in said), (expected, said)


@pytest.mark.parametrize(
    ("values", "seconds"),
    [
        ({"retry_delay": timedelta(seconds=30)}, 30),
        ({"retry_delay": timedelta(seconds=30), "retry_exponential_backoff": 0}, 30),
        ({"retry_delay": timedelta(seconds=30), "retry_exponential_backoff": True}, 240),
        ({"retry_delay": timedelta(seconds=30), "retry_exponential_backoff": 3}, 540),
        ({"retry_delay": timedelta(0), "retry_exponential_backoff": 2.0}, 2),
        (
            {
                "retry_delay": timedelta(seconds=30),
                "retry_exponential_backoff": 3.0,
                "max_retry_delay": timedelta(minutes=1),
            },
            60,
        ),
        ({"retry_delay": timedelta(days=30), "retry_exponential_backoff": 1e300}, 86_400),
    ],
)
def test_a_claim_is_kept_until_the_retry_at_the_latest(
    values: dict[str, Any], seconds: float
) -> None:
    instance = SimpleNamespace(task=SimpleNamespace(**values), try_number=3)

    assert until_retry(instance) == timedelta(seconds=seconds, minutes=5)


@pytest.mark.parametrize(
    "wrong", [{"on_error": "stop"}, {"on_error": "continue"}, {"on_dead": "skip"}, {"retry": 3}]
)
def test_what_makes_no_sense_is_refused_where_it_is_said(
    hook: XclaimHook, wrong: dict[str, Any]
) -> None:
    with pytest.raises(InvalidArgumentError):
        hook.queue("orders", **wrong)
    with pytest.raises(InvalidArgumentError):
        task.exclusive(queue_name="orders", **wrong)(work_on)
    with pytest.raises(InvalidArgumentError):
        task.exclusive(**wrong)(work_on)
