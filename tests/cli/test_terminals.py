"""Nothing that somebody has pushed reaches a terminal raw, and JSON stays the same JSON."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest

from tests.cli.command_line import CommandLine
from xclaim import InvalidArgumentError, MessagesFailedError, Queue
from xclaim.arguments import visible
from xclaim.cli.json_text import json_text

ESCAPES = {
    "ANSI": "\x1b[2J\x1b]0;title\x07",
    "C1": "\x9b31m\x85",
    "DEL": "\x7f",
    "bidi": "\u202eabc\u2066\u2069\u200f",
    "zero width": "a\u200b\u2060\ufeffb",
    "lines": "\u2028\u2029\r\n\v\f",
    "tag": "\U000e0041",
    "private": "\ue000\U000f0000",
    "backspace": "\b\b\bok",
}
FINE = ["naïve", "日本語", "👍🏽", "e\u0301", "Ω ≈ ç", 'quote " and \\ and /']


def is_raw(output: str) -> list[str]:
    """Return the characters that a terminal might obey or turn."""
    return [each for each in output if not each.isprintable() and each not in "\n\t"]


@pytest.mark.parametrize("value", ESCAPES.values(), ids=ESCAPES)
def test_json_escapes_what_a_terminal_obeys_and_stays_the_same(value: str) -> None:
    payload = {value: [value, {"deep": value}], "plain": "日本語"}

    printed = json_text(payload)

    assert is_raw(printed) == []
    assert "\n" not in printed
    assert json.loads(printed) == payload
    assert "日本語" in printed


@pytest.mark.parametrize("value", FINE)
def test_what_people_can_read_stays_readable(value: str) -> None:
    assert json_text(value) == json.dumps(value, ensure_ascii=False)


def test_a_lone_surrogate_is_escaped() -> None:
    assert json.loads(json_text("\ud800").encode()) == "\ud800"


@pytest.mark.parametrize("value", ESCAPES.values(), ids=ESCAPES)
def test_what_is_said_is_one_visible_line(value: str) -> None:
    assert is_raw(visible(f"a{value}b").replace("\n", "\x00")) == []


EVIL = "\x1b[2J\u202e\x9b31m"


@pytest.fixture
def evil(queue: Queue) -> int:
    """Push a message with an evil text wherever one may stand, and let it fail; return its id."""
    pushed = queue.push({"p": EVIL}, unique_key=f"key{EVIL}", headers={EVIL: EVIL})
    claimed = queue.claim(claimed_by=f"me{EVIL}", claim_key=f"key{EVIL}")
    assert claimed is not None
    queue.release(claimed, error=type(f"Evil{EVIL}", (ValueError,), {})(f"boom{EVIL}"), delay=None)
    return pushed.id


@pytest.mark.parametrize("output", ["json", "table", "tsv"])
def test_no_command_prints_it_raw(xclaim: CommandLine, evil: int, output: str) -> None:
    chosen = ("--output", output)

    outcomes = [
        xclaim("peek", "orders", "--failing", *chosen),
        xclaim("get", "orders", str(evil), *chosen),
        xclaim("find", "orders", f"key{EVIL}", *chosen),
        xclaim("stats", "--errors", *chosen),
        xclaim("stats", *chosen),
        xclaim("doctor", *chosen),
        xclaim("audit", *chosen),
    ]

    for outcome in outcomes:
        assert is_raw(outcome.stdout + outcome.stderr) == []
    if output == "json":
        assert outcomes[1].values[0]["payload"] == {"p": EVIL}
        assert outcomes[1].values[0]["headers"] == {EVIL: EVIL}


def test_claims_and_their_settling_print_nothing_raw(
    xclaim: CommandLine, queue: Queue, evil: int
) -> None:
    queue.push({"p": EVIL})
    claimed = xclaim("claim", "orders", "--claimed-by", f"me{EVIL}")
    held = xclaim("claims", "orders")
    by_hand = xclaim("ack", "orders", str(claimed.values[0]["message"]["id"]))
    lost = xclaim("ack", stdin=claimed.stdout)

    for outcome in (claimed, held, by_hand, lost):
        assert is_raw(outcome.stdout + outcome.stderr) == []
    assert claimed.values[0]["message"]["payload"] == {"p": EVIL}
    assert claimed.values[0]["message"]["claimed_by"] == f"me{EVIL}"
    assert lost.status == 3
    assert evil


@pytest.mark.parametrize(
    "arguments",
    [
        ("peek", f"q{EVIL}"),
        ("push", "orders", f"{{{EVIL}"),
        ("push", "orders", f"missing{EVIL}.json"),
        ("get", "orders", EVIL),
        ("find", "orders", f"none{EVIL}"),
        ("peek", "orders", f"--{EVIL}"),
        (f"{EVIL}",),
        ("upgrade", f"rev{EVIL}"),
        ("push", "orders", "1", "--delay", EVIL),
        ("peek", "orders", "--schema", f"s{EVIL}"),
        ("stats", f"q{EVIL}"),
    ],
    ids=lambda arguments: arguments[0].strip(EVIL) or "evil",
)
def test_no_complaint_repeats_it_raw(xclaim: CommandLine, arguments: tuple[str, ...]) -> None:
    outcome = xclaim(*arguments)

    assert is_raw(outcome.stdout + outcome.stderr) == []


def test_a_traceback_is_visible_too(xclaim: CommandLine) -> None:
    traced = CommandLine(
        folder=xclaim.folder, environment=xclaim.environment | {"XCLAIM_TRACEBACK": "1"}
    )

    outcome = traced("push", "orders", f"{{{EVIL}")

    assert "Traceback" in outcome.stderr
    assert is_raw(outcome.stdout + outcome.stderr) == []


def test_log_lines_escape_it(queue: Queue, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="xclaim")
    queue.push(1)
    claimed = queue.claim(claimed_by=f"me{EVIL}\nforged line")
    assert claimed is not None

    queue.release(claimed, error=type(f"Evil{EVIL}", (ValueError,), {})("x"))

    assert "forged line" in caplog.text
    assert all(is_raw(record.getMessage().replace("\n", "\x00")) == [] for record in caplog.records)


def test_errors_of_many_messages_escape_it() -> None:
    error = MessagesFailedError({1: ValueError(f"boom{EVIL}"), 2: EVIL})

    assert is_raw(str(error)) == []


@pytest.mark.parametrize("name", [f"s{EVIL}", "", "  ", "a\nb", "a\x00", "x" * 64, "é" * 32])
def test_a_schema_is_a_readable_name(postgresql_url: str, name: Any) -> None:
    with pytest.raises(InvalidArgumentError), Queue("orders", postgresql_url, schema=name) as queue:
        queue.push(1)
