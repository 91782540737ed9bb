"""The command line as a role that row-level security limits: it says so, and does not say 0."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from sqlalchemy import text

from tests.cli.command_line import CommandLine
from tests.people import People, people

As = Callable[[str], CommandLine]


@pytest.fixture(scope="module")
def granted(postgresql_server: str, _template_url: str) -> Iterator[People]:
    with people(postgresql_server, _template_url, ["orders"]) as all_of_them:
        yield all_of_them


@pytest.fixture
def office(granted: People) -> People:
    with granted.owner.begin() as connection:
        connection.execute(text("TRUNCATE xclaim_message"))
    granted.owned("invoices").push("theirs", unique_key="key")
    return granted


@pytest.fixture
def run_as(office: People, nowhere: CommandLine) -> As:
    def at(who: str) -> CommandLine:
        return nowhere.at(office.engines[who].url.render_as_string(hide_password=False))

    return at


@pytest.mark.parametrize(
    ("who", "command"),
    [
        ("observer", ["stats", "invoices"]),
        ("observer", ["stats", "invoices", "--quiet"]),
        ("observer", ["stats", "invoices", "--errors"]),
        ("observer", ["claims", "invoices"]),
        ("reader", ["peek", "invoices"]),
        ("reader", ["get", "invoices", "1"]),
        ("reader", ["find", "invoices", "key"]),
        ("consumer", ["claim", "invoices"]),
        ("consumer", ["expire", "invoices"]),
        ("maintainer", ["redrive", "invoices"]),
        ("maintainer", ["prune", "invoices", "--older-than", "1h"]),
        ("maintainer", ["withdraw", "invoices", "--unique-key", "key"]),
    ],
)
def test_of_a_queue_that_is_hidden_nothing_is_said(
    run_as: As, who: str, command: list[str]
) -> None:
    done = run_as(who)(*command)

    assert done.status == 4
    assert "row-level security hides queue 'invoices' from role" in done.errors[-1]
    assert '"available": 0' not in done.stdout
    assert "is unknown" not in done.stderr


def test_an_empty_queue_that_the_role_sees_is_empty(run_as: As) -> None:
    stats = run_as("observer")("stats", "orders")
    claimed = run_as("consumer")("claim", "orders")

    assert stats.status == 0
    assert stats.values[0]["available"] == 0
    assert "queue 'orders' is unknown" in stats.stderr
    assert claimed.status == 1


@pytest.mark.parametrize("command", [["stats"], ["stats", "--errors"], ["claims"]])
def test_a_look_at_all_queues_says_that_some_are_left_out(
    run_as: As, office: People, command: list[str]
) -> None:
    office.owned().push(1)

    limited = run_as("observer")(*command)

    assert limited.status == 0
    assert "row-level security hides messages from this role" in limited.stderr


def test_the_owner_is_told_of_nothing_hidden(nowhere: CommandLine, office: People) -> None:
    stats = nowhere.at(office.owner.url.render_as_string(hide_password=False))("stats")

    assert stats.values[0]["queue"] == "invoices"
    assert "row-level" not in stats.stderr


def test_a_message_that_is_hidden_is_not_said_to_be_missing(run_as: As, office: People) -> None:
    moved = office.owned().push(1, max_attempts=1)
    office.owned().release(office.owned().claim_many(1)[0], error="dead")
    office.owned().redrive(to="invoices")

    found = run_as("reader")("get", "orders", str(moved.id))
    redriven = run_as("maintainer")("redrive", "orders", str(moved.id))

    assert redriven.status == 2
    assert "is no dead letter in 'orders.dead' that this role sees" in redriven.stderr
    assert found.status == 1
    assert f"queue 'orders' has no message {moved.id} that this role sees" in found.stderr


def test_a_claim_that_is_hidden_is_not_said_to_be_missing(run_as: As, office: People) -> None:
    (claim,) = office.owned("invoices").claim_many(1)

    for command in ("ack", "release"):
        settled = run_as("consumer")(command, "invoices", str(claim.message.id))

        assert settled.status == 2
        assert f"no message {claim.message.id} that this role sees" in settled.stderr


@pytest.mark.parametrize(
    "command",
    [
        ["audit"],
        ["rotate-keys"],
        ["downgrade", "base", "--yes"],
        ["prune", "--orphans", "--older-than", "1h"],
    ],
)
def test_what_has_to_see_all_messages_is_refused(
    run_as: As, tmp_path: Path, command: list[str]
) -> None:
    orphan = tmp_path / "orders" / ("a" * 32)
    orphan.parent.mkdir()
    orphan.touch()
    os.utime(orphan, (0, 0))
    consumer = run_as("consumer")
    consumer.environment["XCLAIM_STORAGE"] = tmp_path.as_uri()
    consumer.environment["XCLAIM_FERNET_KEYS"] = Fernet.generate_key().decode()

    done = consumer(*command)

    assert done.status == 4
    assert "row-level security hides messages from role" in done.errors[-1]
    assert done.stdout == ""
    assert orphan.exists()
