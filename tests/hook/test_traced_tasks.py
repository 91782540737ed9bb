"""Spans of what a task pushes and works on, within the task's own span."""

# mypy: disable-error-code="untyped-decorator"

from __future__ import annotations

import contextvars
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from tests.hook.conftest import within_task
from tests.telemetry.spans import Spans, id_of, linked, parent_of, trace_of, traced

if TYPE_CHECKING:
    from tests.hook.conftest import DagRun
    from xclaim.airflow.tasks.task_queue import TaskQueue

pytestmark = pytest.mark.airflow


@pytest.fixture
def spans() -> Iterator[Spans]:
    with traced() as spans:
        yield spans


def test_the_span_of_a_task_is_the_parent_of_what_it_pushes(queue: TaskQueue, spans: Spans) -> None:
    with within_task(), spans.tracer.start_as_current_span("worker.work") as worker:
        # As the task runner calls an operator: in a copy of the context.
        message = contextvars.copy_context().run(queue.push, 1)

    send = spans.one("send orders")
    assert parent_of(send) == worker.get_span_context().span_id
    assert f"{id_of(send):016x}" in message.headers["traceparent"]
    assert message.headers["dag_id"] == "shop"


def test_a_pushing_task_that_is_retried_keeps_the_context_of_its_first_try(
    queue: TaskQueue, spans: Spans
) -> None:
    with within_task(1):
        first = queue.push(1)

    with within_task(2):
        again = queue.push(1)

    assert again.id == first.id
    assert again.headers == first.headers
    assert len(spans.all("send orders")) == 2


def test_a_task_that_keeps_its_message_for_its_retry_has_failed_with_the_error(
    queue: TaskQueue, spans: Spans
) -> None:
    queue.push(1)

    with within_task(1), pytest.raises(ValueError, match="of the work"), queue.consume():
        raise ValueError("of the work")
    with within_task(2), queue.consume():
        pass

    first, second = spans.all("process orders")
    assert [attributes(each)["xclaim.outcome"] for each in (first, second)] == ["failed", "acked"]
    assert [attributes(each)["xclaim.attempt"] for each in (first, second)] == [1, 2]
    assert trace_of(first) != trace_of(second)
    assert linked(first) == linked(second) == [id_of(spans.one("send orders"))]


def test_a_task_that_is_put_off_has_not_failed(queue: TaskQueue, spans: Spans) -> None:
    from xclaim.airflow.versions import AirflowRescheduleException

    queue.push(1)

    with within_task(), pytest.raises(AirflowRescheduleException), queue.consume():
        raise AirflowRescheduleException(datetime(2026, 1, 1))  # type: ignore[no-untyped-call]  # noqa: DTZ001

    assert attributes(spans.one("process orders"))["xclaim.outcome"] == "released"


def test_the_function_of_an_exclusive_task_runs_in_the_span_of_its_message(
    run: Callable[..., DagRun], queue: TaskQueue, spans: Spans
) -> None:
    from airflow import sdk

    task: Any = sdk.task  # its decorators are found at run time
    queue.push("order")
    with sdk.DAG(
        "exclusive_traced",
        schedule=None,
        start_date=datetime(2026, 1, 1),  # noqa: DTZ001
        default_args={"retries": 1, "retry_delay": timedelta(0)},
    ) as dag:

        @task.exclusive(queue_name="orders")
        def pack(message: Any) -> None:
            spans.tracer.start_span("in the function").end()
            if message.attempts == 1:
                raise ValueError("the first attempt")

        pack()

    done = run(dag)

    works = spans.all("process orders")
    assert done.state == "success"
    assert [parent_of(each) for each in spans.all("in the function")] == [
        id_of(each) for each in works
    ]
    assert [attributes(each)["xclaim.outcome"] for each in works] == ["failed", "acked"]
    assert [linked(each) for each in works] == [[id_of(spans.one("send orders"))]] * 2


def attributes(span: Any) -> dict[str, Any]:
    """Return what a span says."""
    return dict(span.attributes)
