"""What is encrypted in the queue is not shown by Airflow: rendered fields, logs, attributes."""

# mypy: disable-error-code="untyped-decorator"

from __future__ import annotations

import json
import logging
import pickle
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from airflow import sdk

from tests.hook.conftest import DagRun, connection_uri, dags
from xclaim import Message, Payloads, Queue
from xclaim.airflow.operators import PushOperator
from xclaim.airflow.tasks.hidden import Hidden, revealed

pytestmark = pytest.mark.airflow

Run = Callable[..., DagRun]
task: Any = sdk.task  # its decorators are found at run time
KEY = "cw_0x689RpI-jtRR7oE8h_eQsKImvJapLeSbXpwF4e4="
SECRET = "DE02-SECRET-IBAN"
dag = dags("hidden")


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """One will do: what Airflow shows is the same whatever database the queue is in."""
    return sqlite_url


@pytest.fixture
def encrypted(connected: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Queue]:
    monkeypatch.setenv("XCLAIM_FERNET_KEYS", KEY)
    with Queue("pay", connected, payloads=Payloads(keys=KEY)) as queue:
        yield queue


@task
def secrets() -> list[Any]:
    return [{"iban": SECRET}]


@task
def keys() -> list[str]:
    return [f"key {SECRET}"]


def rendered(dag_id: str) -> dict[str, Any]:
    """Return what Airflow's database has of the rendered fields of the task `push`."""
    from airflow.models.renderedtifields import RenderedTaskInstanceFields
    from airflow.utils.session import create_session
    from sqlalchemy import select

    columns = RenderedTaskInstanceFields
    query = select(columns.rendered_fields).where(columns.dag_id == dag_id)
    with create_session() as session:
        found = session.scalars(query.where(columns.task_id == "push")).all()
    return {name: value for fields in found for name, value in fields.items()}


def push(**options: Any) -> PushOperator:
    return PushOperator(
        task_id="push",
        queue_name="pay",
        payloads=secrets(),
        unique_keys=keys(),
        headers={"of": "{{ 'SECRET' ~ '-IBAN' }}"},
        **options,
    )


def test_rendered_fields_show_nothing_of_an_encrypted_queue(run: Run, encrypted: Queue) -> None:
    with dag("push") as built:
        push()

    run(built)

    shown = rendered("hidden_push")
    assert "IBAN" not in json.dumps(shown)
    assert shown["queue_name"] == "pay"
    assert "encrypted" in shown["payloads"]
    (message,) = encrypted.peek()
    assert (message.payload, message.unique_key) == ({"iban": SECRET}, f"key {SECRET}")
    assert message.headers["of"] == "SECRET-IBAN"


def test_nor_do_those_of_a_mapped_push(run: Run, encrypted: Queue) -> None:
    with dag("mapped") as built:

        @task
        def lists() -> list[Any]:
            return [[{"iban": SECRET}], ["{{ run_id }}"]]

        PushOperator.partial(task_id="push", queue_name="pay").expand(payloads=lists())

    run(built)

    assert "IBAN" not in json.dumps(rendered("hidden_mapped"))
    assert encrypted.counts().available == 2


def test_an_encrypted_connection_hides_as_well(
    run: Run, connected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    separator = "&" if "?" in connection_uri(connected) else "?"
    uri = f"{connection_uri(connected)}{separator}xclaim_encryption=xclaim"
    monkeypatch.setenv("AIRFLOW_CONN_PAY", uri)
    monkeypatch.setenv("XCLAIM_FERNET_KEYS", KEY)
    with dag("connection") as built:
        push(xclaim_conn_id="pay")

    assert run(built).state == "success"

    assert "IBAN" not in json.dumps(rendered("hidden_connection"))


def test_what_is_not_encrypted_is_shown_as_ever(run: Run, connected: str) -> None:
    with dag("plain") as built:
        push()

    run(built)

    assert rendered("hidden_plain")["payloads"] == [{"iban": SECRET}]
    with Queue("pay", connected) as queue:
        assert queue.counts().available == 1


def test_a_retry_of_an_encrypted_push_pushes_nothing_twice(run: Run, encrypted: Queue) -> None:
    with dag("twice") as built:
        push()

    run(built)
    run(built)

    assert encrypted.counts().available == 1


def test_the_log_of_the_task_has_no_payload(
    run: Run, encrypted: Queue, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    with dag("log") as built:
        push()

        @task.exclusive(queue_name="pay", on_empty="succeed")
        def pay(message: Message) -> None:
            assert message.payload == {"iban": SECRET}

        built.get_task("push") >> pay()

    assert run(built).state == "success"

    out = "".join(capfd.readouterr())
    said = [line for line in (caplog.text + out).splitlines() if SECRET in line]
    # Only what the producing tasks returned, which is theirs to encrypt or not.
    assert [
        line for line in said if "Returned value" not in line and "xcom" not in line.lower()
    ] == []
    assert encrypted.counts().consumed == 1


def test_an_operator_keeps_no_payload_when_its_function_has_returned(
    run: Run, encrypted: Queue
) -> None:
    encrypted.push({"iban": SECRET})
    seen: list[str] = []

    def look(context: Any) -> None:  # as a listener looks
        seen.append(repr(vars(context["task"])) + repr(context["task"].op_kwargs))

    with dag("operator") as built:

        @task.exclusive(queue_name="pay", on_success_callback=look)
        def pay(message: Any) -> None:
            assert message.payload == {"iban": SECRET}

        pay()

    run(built)

    assert seen
    assert "Message(" not in "".join(seen)


def test_an_encrypted_push_that_is_rendered_again_pushes_the_same(encrypted: Queue) -> None:
    operator = PushOperator(
        task_id="push",
        queue_name="pay",
        payloads=[{"iban": "{{ iban }}"}],
        unique_keys=["key {{ iban }}"],
        headers={"of": "{{ iban }}"},
    )
    context: Any = {"iban": SECRET}
    operator.render_template_fields(context)

    operator.render_template_fields({"iban": "another"})  # type: ignore[typeddict-unknown-key]

    assert SECRET not in repr(operator.payloads)
    operator.execute(context)
    (message,) = encrypted.peek()
    assert (message.payload, message.unique_key) == ({"iban": SECRET}, f"key {SECRET}")
    assert message.headers["of"] == SECRET


def test_what_is_hidden_twice_is_hidden_once() -> None:
    hidden = Hidden(Hidden({"iban": SECRET}))

    assert revealed(hidden) == {"iban": SECRET}


def test_a_hidden_value_shows_nothing() -> None:
    hidden = Hidden({"iban": SECRET})

    assert revealed(hidden) == {"iban": SECRET}
    assert revealed([1]) == [1]
    assert SECRET not in f"{hidden} {hidden!r} {[hidden]}"
    assert not hasattr(hidden, "__dict__")
    with pytest.raises((pickle.PicklingError, AttributeError)):
        pickle.dumps(hidden)
