"""What type checkers say of calls of the public API, and Python when they are made.

A queue passes its schema, its notify and what is left after an ack to the verbs itself. A caller's
own would be overridden in silence: they are no options of a method.
"""

from __future__ import annotations

import asyncio
import inspect
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.typing import checkers, right_calls
from tests.typing.checkers import Reports
from xclaim import AsyncQueue, Queue

pytestmark = pytest.mark.timeout(600)  # mypy reads SQLAlchemy, perhaps for the first time

# The methods, and with which arguments each is called: names of the parameters below.
CALLS = {
    "ack": "claim",
    "ack_many": "[claim]",
    "backlog": "",
    "claim": "",
    "claim_many": "1",
    "claim_message": "1",
    "close": "",
    "consume": "",
    "consume_many": "1",
    "counts": "",
    "expire": "",
    "extend": "claim",
    "extend_many": "[claim]",
    "failing": "1",
    "failures": "1",
    "find": "['one']",
    "get": "1",
    "limit": "",
    "limit_backlog": "max_backlog=None",
    "limits": "",
    "newest_available_at": "",
    "pause": "",
    "paused": "",
    "peek": "",
    "prune": "older_than=age",
    "push": "{'id': 1}",
    "push_many": "[{'id': 1}]",
    "read": "claim",
    "redrive": "",
    "release": "claim",
    "resume": "ticket",
    "stream": "",
    "transact": "",
    "unpause": "",
    "withdraw": "['one']",
    "working_on": "[claim]",
}
NOT_AWAITED = {"consume", "consume_many", "stream", "transact", "working_on"}
QUEUES_OWN = ["schema", "notify", "after", "removed"]
HEAD = """
from datetime import timedelta

from xclaim import AfterAck, AsyncQueue, Claim, Queue, Ticket
"""
PARAMETERS = (
    "claim: Claim, ticket: Ticket, age: timedelta, "
    "schema: str, notify: bool, after: AfterAck, removed: list[str]"
)
KNOWN = dict.fromkeys(["claim", "ticket", "age", *QUEUES_OWN])


def call(name: str, *options: str) -> str:
    arguments = [CALLS[name], *(f"{option}={option}" for option in options)]
    return f"queue.{name}({', '.join(filter(None, arguments))})"


def module_of(*options: str) -> str:
    """Return a module that calls every method of both facades, with the options."""
    lines = [HEAD, f"def use(queue: Queue, {PARAMETERS}) -> None:"]
    lines += [f"    {call(name, *options)}" for name in CALLS]
    lines += ["", f"async def use_async(queue: AsyncQueue, {PARAMETERS}) -> None:"]
    for name in CALLS:
        awaited = "" if name in NOT_AWAITED else "await "
        lines.append(f"    {awaited}{call(name, *options)}")
    return "\n".join([*lines, ""])


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Write a module of plain calls, and one for each option that is the queue's own; copy ours."""
    folder = tmp_path_factory.mktemp("calls")
    (folder / "plain.py").write_text(module_of())
    for option in QUEUES_OWN:
        (folder / f"{option}.py").write_text(module_of(option))
    for ours in ("typing/right_calls.py", "test_typed_queues.py"):
        shutil.copy(checkers.CHECKOUT / "tests" / ours, folder)
    return sorted(folder.glob("*.py"))


@pytest.fixture(scope="module")
def by_mypy(written: list[Path]) -> Reports:
    return checkers.mypy(written)


@pytest.fixture(scope="module")
def by_pyright(written: list[Path]) -> Reports:
    return checkers.pyright(written)


@pytest.fixture(params=["by_mypy", "by_pyright"])
def reports(request: pytest.FixtureRequest) -> Reports:
    found: Reports = request.getfixturevalue(request.param)
    return found


def test_every_method_is_called_here() -> None:
    methods = [name for name, _ in inspect.getmembers(Queue, callable) if name[0] != "_"]

    assert list(CALLS) == methods


@pytest.mark.parametrize("module", ["plain", "right_calls", "test_typed_queues"])
def test_a_type_checker_finds_nothing_in_right_calls(reports: Reports, module: str) -> None:
    assert reports[module] == {}


@pytest.mark.parametrize("option", QUEUES_OWN)
def test_a_type_checker_refuses_what_is_the_queues_own(reports: Reports, option: str) -> None:
    lines = enumerate(module_of(option).splitlines(), start=1)
    calls = {number: line.strip() for number, line in lines if "queue." in line}

    unnoticed = [line for number, line in calls.items() if number not in reports[option]]

    assert unnoticed == []
    known = {"call-arg", "call-overload", "reportCallIssue"}  # a push has overloads
    assert set(reports[option].values()) <= known


@pytest.mark.parametrize("option", QUEUES_OWN)
@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("facade", [Queue, AsyncQueue])
def test_python_refuses_it_too(facade: type[Any], name: str, option: str) -> None:
    queue = facade("orders", "sqlite://")

    async def run() -> None:
        result = eval(call(name, option), KNOWN | {"queue": queue})  # noqa: S307  (of CALLS)
        if inspect.isawaitable(result):
            await result

    with pytest.raises(TypeError, match=f"unexpected keyword argument '{option}'"):
        asyncio.run(run())


def test_right_calls_run(sqlite_url: str) -> None:
    right_calls.use(Queue("orders", sqlite_url))
    asyncio.run(right_calls.use_async(AsyncQueue("returns", sqlite_url)))
