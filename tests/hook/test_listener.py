"""What a task holds when it fails for good is given back at once."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from tests.hook.conftest import within_task
from xclaim import ClaimLostError
from xclaim.airflow.hooks import XclaimHook

pytestmark = pytest.mark.airflow


@pytest.fixture
def hook(connected: str) -> XclaimHook:
    assert connected
    return XclaimHook()


TRY = "0195e0e0-0000-7000-8000-000000000001"


def fail(state: str, instance_id: str = TRY) -> None:
    from xclaim.airflow.listener import on_task_instance_failed

    instance = SimpleNamespace(state=state, id=instance_id)
    on_task_instance_failed(None, instance, ValueError("boom"))


def test_a_task_that_failed_for_good_gives_back_what_it_held(hook: XclaimHook) -> None:
    hook.push_many("orders", [1, 2, 3])
    with within_task(id=TRY):
        first = hook.claim("orders")
        assert first is not None
        hook.ack(first)
        hook.claim_many("orders", 2)

    fail("failed")

    queue = hook.queue("orders")
    assert (queue.counts().consumed, queue.counts().available) == (1, 2)
    assert queue.peek()[0].last_error == "the task failed: ValueError('boom')"


def test_before_a_retry_it_is_kept(hook: XclaimHook) -> None:
    hook.push("orders", 1)
    with within_task(id=TRY):
        hook.claim("orders")

    fail("up_for_retry")

    assert hook.queue("orders").counts().claimed == 1
    fail("failed")


def test_what_another_try_holds_is_left_alone(hook: XclaimHook) -> None:
    hook.push("orders", 1)
    with within_task():
        hook.claim("orders")

    fail("failed")

    assert hook.queue("orders").counts().claimed == 1


def test_tickets_are_not_given_back(hook: XclaimHook) -> None:
    hook.push("orders", 1)
    with within_task(id=TRY):
        ticket = hook.claim_ticket("orders")

    fail("failed")

    assert ticket is not None
    with within_task(task_id="work"):
        hook.ack_many(hook.resume(ticket))


def test_what_was_lost_or_settled_elsewhere_is_left_alone(hook: XclaimHook) -> None:
    hook.push_many("orders", [1, 2])
    with within_task(id=TRY):
        settled, kept = hook.claim_many("orders", 2)
    hook.queue("orders").ack(settled)

    fail("failed")

    with pytest.raises(ClaimLostError):
        hook.ack(kept)
    assert hook.queue("orders").counts().available == 1


def test_the_plugin_is_found_by_airflow() -> None:
    from importlib.metadata import entry_points

    from airflow.plugins_manager import AirflowPlugin

    (point,) = entry_points(group="airflow.plugins", name="xclaim")

    plugin = point.load()
    assert issubclass(plugin, AirflowPlugin)
    assert plugin.listeners
