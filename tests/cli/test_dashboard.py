"""`xclaim dashboard`: the link, who is let in, and its end."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from queue import SimpleQueue

import httpx
import pytest
import sqlalchemy

from tests.cli.command_line import XCLAIM, CommandLine
from tests.eventually import PATIENCE
from xclaim import Queue
from xclaim.cli import showing

_LINK = re.compile(r"dashboard: (http://\S+/)(?:\?token=(\S+))?")


@dataclass
class Running:
    """A dashboard that runs: its process, and what it has said on stderr."""

    process: subprocess.Popen[str]
    lines: SimpleQueue[str] = field(default_factory=SimpleQueue)

    def link(self) -> tuple[str, str]:
        """Return the address and the token that it says next; fail if it ends instead."""
        said = []
        while line := self.lines.get(timeout=PATIENCE):
            said.append(line)
            if found := _LINK.search(line):
                return found.group(1), found.group(2) or ""
        raise AssertionError(f"it ended, and said {said}")

    def interrupt(self) -> int:
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(PATIENCE)

    def read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.put(line)
        self.lines.put("")


@contextmanager
def dashboard(xclaim: CommandLine, *options: str, **environment: str) -> Iterator[Running]:
    process = subprocess.Popen(
        [*XCLAIM, "dashboard", "--port", "0", "--timeout", "60s", *options],
        cwd=xclaim.folder,
        env=xclaim.environment | environment,
        stderr=subprocess.PIPE,
        text=True,
    )
    running = Running(process)
    reader = threading.Thread(target=running.read)
    reader.start()
    try:
        yield running
    finally:
        process.kill()
        process.wait()
        reader.join()
        assert process.stderr is not None
        process.stderr.close()


def test_the_link_shows_the_queues_and_ctrl_c_ends_it(xclaim: CommandLine, queue: Queue) -> None:
    queue.push({"id": 1})

    options = ("--airflow-url", "https://airflow.example")

    with dashboard(xclaim, *options) as running, httpx.Client(timeout=PATIENCE) as browser:
        address, token = running.link()
        shut = browser.get(f"{address}queues")
        page = browser.get(address, params={"token": token}, follow_redirects=True)
        task = browser.get(f"{address}task", params={"dag": "shop", "run": "r", "task": "t"})
        status = running.interrupt()

    assert address.startswith("http://127.0.0.1:")
    assert shut.status_code == 401
    assert (page.status_code, str(page.url)) == (200, address)
    assert ">orders<" in page.text
    assert 'href="https://airflow.example/dags/shop/runs/r/tasks/t"' in task.text
    assert status == 0


def test_a_used_link_is_followed_by_another(sqlite_xclaim: CommandLine) -> None:
    with dashboard(sqlite_xclaim) as running:
        address, token = running.link()
        httpx.get(address, params={"token": token}, timeout=PATIENCE)
        _, second = running.link()
        answers = [
            httpx.get(address, params={"token": each}, timeout=PATIENCE).status_code
            for each in (token, second)
        ]

    assert answers == [401, 303]


def test_it_ends_at_once_also_while_somebody_watches(
    sqlite_xclaim: CommandLine, sqlite_queue: Queue
) -> None:
    sqlite_queue.push({"id": 1})

    with dashboard(sqlite_xclaim) as running, httpx.Client(timeout=PATIENCE) as browser:
        address, token = running.link()
        browser.get(address, params={"token": token})
        with browser.stream("GET", f"{address}events", params={"topic": "queues"}) as stream:
            lines = stream.iter_lines()
            first = next(line for line in lines if line.startswith("data:"))
            status = running.interrupt()
            rest = [*lines]

    assert '"available:orders": {"text": "1"}' in first
    assert status == 0
    assert not any("hunter2" in line for line in rest)


def test_another_name_is_not_answered(sqlite_xclaim: CommandLine) -> None:
    with dashboard(sqlite_xclaim, "--allowed-host", "ops.example") as running:
        address, token = running.link()
        answers = [
            httpx.get(
                address, params={"token": token}, headers={"host": host}, timeout=PATIENCE
            ).status_code
            for host in ("evil.example", "ops.example")
        ]

    assert answers == [403, 303]


def test_the_link_of_another_address_of_this_machine_is_answered(
    sqlite_xclaim: CommandLine,
) -> None:
    with dashboard(sqlite_xclaim, "--host", "127.0.0.2") as running:
        address, token = running.link()
        answer = httpx.get(address, params={"token": token}, timeout=PATIENCE)

    assert address.startswith("http://127.0.0.2:")
    assert answer.status_code == 303


def test_a_password_is_asked_for_under_a_prefix(sqlite_xclaim: CommandLine) -> None:
    environment = {
        "XCLAIM_DASHBOARD_USER": "ops",
        "XCLAIM_DASHBOARD_PASSWORD": "long enough",
    }

    with dashboard(
        sqlite_xclaim, "--auth", "basic", "--root-path", "/tools/", **environment
    ) as running:
        address, token = running.link()
        shut = httpx.get(address, timeout=PATIENCE)
        page = httpx.get(address, auth=("ops", "long enough"), timeout=PATIENCE)
        health = httpx.get(f"{address}healthz", timeout=PATIENCE)

    assert address.endswith("/tools/")
    assert token == ""
    assert (shut.status_code, page.status_code, health.text) == (401, 200, "ok\n")


def test_a_proxy_is_believed_if_it_is_named(sqlite_xclaim: CommandLine) -> None:
    options = ("--auth", "proxy-header:X-User", "--trusted-proxies", "10.0.0.1,127.0.0.1")

    with dashboard(sqlite_xclaim, *options) as running:
        address, _ = running.link()
        page = httpx.get(address, headers={"x-user": "zoe"}, timeout=PATIENCE)
        shut = httpx.get(address, timeout=PATIENCE)

    assert "Signed in as <bdi>zoe</bdi>" in page.text
    assert shut.status_code == 403


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--host", "0.0.0.0"], "say with --auth who is let in"),  # noqa: S104
        (["--auth", "basic"], "XCLAIM_DASHBOARD_USER"),
        (["--auth", "none"], "write token, basic or proxy-header:NAME"),
        (["--auth", "proxy-header:X-User"], "--trusted-proxies"),
        (["--auth", "proxy-header:X User", "--trusted-proxies", "::1"], "no name of a header"),
        (["--trusted-proxies", "::1"], "--trusted-proxies is for --auth proxy-header:NAME"),
        (["--root-path", "queues"], "--root-path is 'queues'"),
        (["--airflow-url", "javascript:alert(1)"], "the URL of Airflow cannot be used"),
        (["--airflow-url", "/airflow"], "--airflow-url is a path"),
        (["--airflow-url", "https://a@b"], "without a user, a query or a fragment"),
        (["--timeout", "0s"], "timeout must be a millisecond or more"),
        (["--host", "no such host", "--auth", "token"], "cannot listen at no such host:"),
        (["--host", "192.0.2.1", "--auth", "token"], "name an address of this machine"),
    ],
)
def test_what_would_not_be_safe_or_cannot_be_is_refused(
    sqlite_xclaim: CommandLine, options: list[str], said: str
) -> None:
    outcome = sqlite_xclaim("dashboard", "--port", "0", *options)

    assert outcome.status == 2
    assert [line for line in outcome.errors if said in line] == outcome.errors


def test_a_port_that_is_taken_is_said(sqlite_xclaim: CommandLine) -> None:
    with dashboard(sqlite_xclaim) as running:
        port = running.link()[0].rpartition(":")[2].strip("/")
        outcome = sqlite_xclaim("dashboard", "--port", port)

    assert outcome.status == 2
    assert "--port" in outcome.errors[0]


def test_a_database_that_is_not_there_is_said(nowhere: CommandLine) -> None:
    outcome = nowhere("dashboard", "--port", "0", "--url", f"sqlite:///{os.devnull}x/y.db")

    assert outcome.status == 4


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("sqlite:////srv/queues/shop.db", "shop.db"),
        ("sqlite:///file:/srv/shop.db?uri=true&mode=ro", "shop.db"),
        ("postgresql+psycopg://ann:hunter2@db.example/orders", "orders"),
        ("postgresql+psycopg://", "postgresql"),
    ],
)
def test_a_database_is_called_by_its_own_name(url: str, name: str) -> None:
    assert showing._short_name(sqlalchemy.create_engine(url)) == name
