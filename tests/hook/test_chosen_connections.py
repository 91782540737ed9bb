"""An XCom says which message is meant; the DAG says in which database."""

# mypy: disable-error-code="untyped-decorator"

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from airflow import sdk

from tests.hook.conftest import DagRun, connection_uri, dags, within_task
from xclaim import InvalidArgumentError, Message, Queue
from xclaim.airflow.hooks import XclaimHook
from xclaim.airflow.operators import AckOperator, ClaimOperator, ReleaseOperator
from xclaim.airflow.tasks.tickets import _checksum
from xclaim.airflow.xcom.exclusive_values import ExclusiveValue, consume_values, exclusive

pytestmark = pytest.mark.airflow

Run = Callable[..., DagRun]
task: Any = sdk.task  # its decorators are found at run time
dag = dags("chosen")
KEY, CLAIMANT = "pay/run/claim/ticket/0", "pay/run/claim#1@host"  # both can be guessed


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """One will do: names of connections are the same whatever database the queue is in."""
    return sqlite_url


@pytest.fixture
def payroll(
    connected: str,  # noqa: ARG001  (the other database)
    empty_sqlite_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Queue]:
    """Return a queue behind a connection that the DAG does not name."""
    from xclaim.operations import migrate

    migrate.upgrade(empty_sqlite_url)
    monkeypatch.setenv("AIRFLOW_CONN_PAYROLL", connection_uri(empty_sqlite_url))
    with Queue("payroll", empty_sqlite_url) as queue:
        yield queue


def forged(**values: Any) -> dict[str, Any]:
    """Return a ticket that somebody wrote who may write XComs."""
    ticket = {
        "queue": "payroll",
        "claim_key": KEY,
        "claimed_by": CLAIMANT,
        "xclaim_conn_id": "payroll",
        "size": 1,
        "claimed_at": "x",
        "expires_at": "x",
    } | values
    return ticket | {"checksum": _checksum(ticket)}


@pytest.mark.parametrize("operator", [AckOperator, ReleaseOperator])
@pytest.mark.parametrize("names", ["payroll", "xclaim_default", "nowhere"])
def test_a_ticket_does_not_choose_the_connection(payroll: Queue, operator: Any, names: str) -> None:
    payroll.push({"to": "bob"})
    payroll.claim(claimed_by=CLAIMANT, claim_key=KEY)

    with pytest.raises(Exception, match=r"ticket|held"):
        operator(task_id="settle", ticket=forged(xclaim_conn_id=names)).execute({})

    assert payroll.counts().claimed == 1


def test_a_hook_resumes_no_ticket_of_another_connection(payroll: Queue) -> None:
    payroll.push({"to": "bob"})
    payroll.claim(claimed_by=CLAIMANT, claim_key=KEY)

    with pytest.raises(InvalidArgumentError, match="pass its connection as xclaim_conn_id"):
        XclaimHook().resume(forged())
    with pytest.raises(InvalidArgumentError), XclaimHook().consume_ticket(forged()):
        pass

    assert payroll.counts().claimed == 1


def test_a_dag_that_names_the_connection_settles_there(run: Run, payroll: Queue) -> None:
    payroll.push({"to": "bob"})
    with dag("named") as built:
        claim = ClaimOperator(task_id="claim", queue_name="payroll", xclaim_conn_id="payroll")
        AckOperator(task_id="ack", ticket=claim.output, xclaim_conn_id="payroll")

    run(built)

    assert payroll.counts().consumed == 1


def test_a_dag_that_does_not_name_it_fails_and_says_what_to_pass(run: Run, payroll: Queue) -> None:
    payroll.push({"to": "bob"})
    with dag("unnamed") as built:
        claim = ClaimOperator(task_id="claim", queue_name="payroll", xclaim_conn_id="payroll")
        AckOperator(task_id="ack", ticket=claim.output)

    done = run(built)

    assert done.states("ack") == {"failed": 1}
    assert payroll.counts().claimed == 1


def test_a_ticket_of_another_queue_is_refused_where_the_dag_names_one(hook: XclaimHook) -> None:
    hook.queue("payroll").push(1)
    with within_task(task_id="claim"):
        ticket = hook.claim_ticket("payroll")
    assert ticket is not None

    with pytest.raises(InvalidArgumentError, match="only one of 'orders'"):
        hook.resume(ticket, queue_name="orders")
    with pytest.raises(InvalidArgumentError, match="only one of 'orders'"):
        AckOperator(task_id="ack", ticket=ticket, queue_name="orders").execute({})

    assert hook.queue("payroll").counts().claimed == 1
    assert len(hook.resume(ticket, queue_name="payroll")) == 1


def test_a_ticket_can_name_any_queue_of_its_connection(payroll: Queue) -> None:
    payroll.push({"to": "bob"})
    payroll.claim(claimed_by=CLAIMANT, claim_key=KEY)

    AckOperator(task_id="settle", ticket=forged(), xclaim_conn_id="payroll").execute({})

    assert payroll.counts().consumed == 1


def place(message: Message, connection: str = "payroll") -> ExclusiveValue:
    """Return what is read of an XCom that somebody wrote."""
    written = {"queue": "payroll", "message_id": message.id, "xclaim_conn_id": connection}
    return ExclusiveValue.deserialize(written, 0)


def test_an_exclusive_value_does_not_choose_the_connection(payroll: Queue) -> None:
    value = place(payroll.push({"to": "bob"}))

    with within_task(), pytest.raises(InvalidArgumentError, match=r"value\.on\("), value:
        pass
    with pytest.raises(InvalidArgumentError), consume_values([value]):
        pass
    with pytest.raises(InvalidArgumentError), value.on("xclaim_default"):
        pass

    counts = payroll.counts()
    assert (counts.available, counts.claimed, counts.consumed) == (1, 0, 0)


def test_a_block_that_names_the_connection_has_the_value(payroll: Queue) -> None:
    value = place(payroll.push({"to": "bob"}))

    with within_task(), value.on("payroll") as claim:
        assert claim is not None
        assert claim.payload == {"to": "bob"}

    assert payroll.counts().consumed == 1


@pytest.mark.usefixtures("xcom_folder")
@pytest.mark.parametrize(
    ("named", "state"),
    [
        ({}, "failed"),
        ({"xclaim_conn_id": "payroll"}, "success"),
        ({"xclaim_conn_id": ["xclaim_default", "payroll"]}, "success"),
        ({"xclaim_conn_id": "{{ 'pay' ~ 'roll' }}"}, "success"),
        ({"xclaim_conn_id": ["xclaim_default", "{{ 'pay' ~ 'roll' }}"]}, "success"),
    ],
    ids=["unnamed", "named", "one of two", "template", "template of two"],
)
def test_a_task_is_passed_values_of_connections_that_it_names(
    run: Run, payroll: Queue, named: dict[str, Any], state: str
) -> None:
    with dag(f"values_{len(str(named))}") as built:

        @task
        def give() -> Any:
            return exclusive({"to": "bob"}, "payroll", xclaim_conn_id="payroll")

        @task.exclusive(**named)
        def pay(payment: Message) -> Any:
            return payment.payload

        pay(give())

    done = run(built)

    assert done.states("pay") == {state: 1}
    assert payroll.counts().consumed == (state == "success")
