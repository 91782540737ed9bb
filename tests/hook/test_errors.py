"""The errors of the Airflow side, as tests/test_errors.py has it of all others."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import xclaim.airflow
from tests.handed_on import WAYS, assert_same, caught, errors_of, raised_by_workers
from tests.hook.conftest import within_task
from xclaim import ClaimLostError, Queue, Ticket, TicketLostError, XclaimError
from xclaim.airflow.tasks.tickets import TicketLostForGoodError
from xclaim.airflow.xcom import ExclusiveValue, ExclusiveValueLostError
from xclaim.airflow.xcom.exclusive_values import consume_values

pytestmark = pytest.mark.airflow

KINDS = errors_of(xclaim.airflow)
VALUE = ExclusiveValue(queue="orders", xclaim_conn_id="xclaim_default", message_id=17)
TICKET = Ticket(queue="orders", claim_key="key", claimed_by="me")
EXAMPLES: dict[type[XclaimError], Callable[[], XclaimError]] = {
    ExclusiveValueLostError: lambda: ExclusiveValueLostError(VALUE, "is held by somebody"),
    TicketLostForGoodError: lambda: TicketLostForGoodError(TICKET),
}


def an(kind: type[XclaimError]) -> BaseException:
    return caught(EXAMPLES[kind]())


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", KINDS)
def test_an_error_that_was_pickled_or_copied_is_the_same(kind: type[XclaimError], way: str) -> None:
    error = an(kind)

    again = WAYS[way](error)

    assert_same(again, error)


def test_worker_processes_raise_every_error_here() -> None:
    errors = [an(kind) for kind in KINDS]

    arrived = raised_by_workers(errors)

    for again, error in zip(arrived, [*errors, *errors], strict=True):
        assert again is not None
        assert_same(again, error)


def test_a_lost_exclusive_value_is_a_lost_claim_but_no_lost_ticket() -> None:
    error = ExclusiveValueLostError(VALUE, "is held by somebody")

    assert isinstance(error, ClaimLostError)
    assert not isinstance(error, TicketLostError)
    assert (error.value, error.claims) == (VALUE, [])
    assert str(error).startswith("the exclusive value (message 17 in 'orders') is held by somebody")


@pytest.mark.parametrize("way", WAYS)
def test_what_a_block_holds_is_handed_on_without_the_block(way: str, connected: str) -> None:
    with Queue("orders", connected) as queue:
        message = queue.push(1)
    value = ExclusiveValue(queue="orders", xclaim_conn_id="xclaim_default", message_id=message.id)
    with within_task(), value, pytest.raises(ExclusiveValueLostError) as lost:  # noqa: SIM117
        with consume_values([value]):
            pass

    again = WAYS[way](lost.value)

    assert again.value == value
    assert str(again) == str(lost.value)
