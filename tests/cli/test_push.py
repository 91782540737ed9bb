"""`xclaim push`: one payload, or JSON lines on stdin."""

from __future__ import annotations

import io
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.cli.command_line import CommandLine
from tests.times import available_at
from xclaim import Queue
from xclaim.cli import main
from xclaim.payloads.plain_json import Encoded

TWO_LINES = '{"id": 1}\n\n{"id": 2}\n'


def test_a_payload_is_pushed_and_its_message_printed(xclaim: CommandLine, queue: Queue) -> None:
    pushed = xclaim("push", "orders", '{"id": "café"}')

    (message,) = queue.peek(10)
    assert pushed.status == 0
    assert pushed.values == [message.to_dict()]
    assert message.payload == {"id": "café"}


def test_every_option_of_push_reaches_the_message(
    sqlite_xclaim: CommandLine, sqlite_queue: Queue
) -> None:
    pushed = sqlite_xclaim(
        *("push", "orders", "1", "--unique-key", "one", "--priority", "7", "--delay", "2h"),
        *("--max-attempts", "3", "--header", "source=shop", "--header", "trace=a=b"),
    )

    message = sqlite_queue.get(pushed.values[0]["id"])
    assert message is not None
    assert (message.unique_key, message.priority, message.max_attempts) == ("one", 7, 3)
    assert message.headers == {"source": "shop", "trace": "a=b"}
    assert available_at(message) - message.created_at == timedelta(hours=2)


def test_each_line_of_stdin_is_a_payload(xclaim: CommandLine, queue: Queue) -> None:
    pushed = xclaim("push", "orders", "-", stdin=TWO_LINES)

    assert pushed.status == 0
    assert pushed.values == [{"queue": "orders", "pushed": 2, "new": 2}]
    assert [message.payload for message in queue.peek(10)] == [{"id": 1}, {"id": 2}]


def test_lines_for_which_there_is_no_room_are_counted(xclaim: CommandLine, queue: Queue) -> None:
    full = ("push", "orders", "-", "--max-backlog", "1")

    refused = xclaim(*full, stdin=TWO_LINES)
    skipped = xclaim(*full, "--on-full", "skip", stdin=TWO_LINES)
    waiting = xclaim(*full, "--on-full", "wait", stdin=TWO_LINES)

    assert refused.status == 2
    assert "is full" in refused.stderr or "never fit" in refused.stderr
    assert skipped.values == [{"queue": "orders", "pushed": 0, "new": 0}]
    assert "queue 'orders' is full: 2 of 2 lines were not pushed" in skipped.stderr
    assert waiting.status == 2
    assert "for one payload" in waiting.stderr
    assert queue.counts().available == 0


def test_a_file_is_read_line_by_line(xclaim: CommandLine, queue: Queue) -> None:
    (xclaim.folder / "orders.jsonl").write_text(TWO_LINES)

    pushed = xclaim("push", "orders", "orders.jsonl")

    assert pushed.values == [{"queue": "orders", "pushed": 2, "new": 2}]
    assert [message.payload for message in queue.peek(10)] == [{"id": 1}, {"id": 2}]


def test_what_is_json_is_a_payload_also_beside_a_file_of_its_name(
    sqlite_xclaim: CommandLine, sqlite_queue: Queue
) -> None:
    (sqlite_xclaim.folder / "1").write_text(TWO_LINES)

    sqlite_xclaim("push", "orders", "1")

    assert [message.payload for message in sqlite_queue.peek(10)] == [1]


def test_a_key_that_was_there_is_said_to_be_no_new_message(
    sqlite_xclaim: CommandLine, sqlite_queue: Queue
) -> None:
    first = sqlite_queue.push(1, unique_key="one")

    again = sqlite_xclaim("push", "orders", "1", "--unique-key", "one")

    assert (again.status, again.values[0]["id"]) == (0, first.id)
    assert f"message {first.id} was there already under 'one'" in again.stderr


def test_without_a_limit_a_message_is_never_dead(
    sqlite_xclaim: CommandLine, sqlite_queue: Queue
) -> None:
    sqlite_xclaim("push", "orders", "1")
    sqlite_xclaim("push", "orders", "2", "--max-attempts", "none")

    assert [message.max_attempts for message in sqlite_queue.peek(10)] == [20, None]


def test_stdin_is_read_when_the_payload_is_left_out(
    sqlite_xclaim: CommandLine, sqlite_queue: Queue
) -> None:
    sqlite_xclaim("push", "orders", stdin=TWO_LINES)

    assert sqlite_queue.counts().available == 2


def test_more_lines_than_a_batch_keep_their_order(
    sqlite_xclaim: CommandLine, sqlite_queue: Queue
) -> None:
    lines = "".join(f"{number}\n" for number in range(2_345))

    pushed = sqlite_xclaim("push", "orders", "-", stdin=lines)

    assert pushed.values == [{"queue": "orders", "pushed": 2_345, "new": 2_345}]
    assert [message.payload for message in sqlite_queue.peek(3_000)] == list(range(2_345))


def test_a_line_is_encoded_once(
    sqlite_xclaim: CommandLine, sqlite_queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    pushed, push_many = [], Queue.push_many

    def noting(queue: Queue, payloads: list[Any], **options: Any) -> Any:
        pushed.extend(payloads)
        return push_many(queue, payloads, **options)

    monkeypatch.setattr(Queue, "push_many", noting)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(TWO_LINES.encode())))

    with pytest.raises(SystemExit):
        main(["push", "orders", "-", "--url", sqlite_xclaim.environment["XCLAIM_DATABASE_URL"]])

    assert [type(each) for each in pushed] == [Encoded, Encoded]
    assert [message.payload for message in sqlite_queue.peek(10)] == [{"id": 1}, {"id": 2}]


def test_a_key_from_each_payload_pushes_a_file_once(xclaim: CommandLine, queue: Queue) -> None:
    xclaim("push", "orders", "-", "--unique-key-field", "id", stdin=TWO_LINES)

    again = xclaim("push", "orders", "-", "--unique-key-field", "id", stdin=TWO_LINES)

    more = xclaim("push", "orders", "--unique-key-field", "id", stdin=TWO_LINES + '{"id": 3}\n')
    assert (again.status, again.values[0]["new"], more.values[0]["new"]) == (0, 0, 1)
    assert [message.unique_key for message in queue.peek(10)] == ["1", "2", "3"]


LINES_OF_CUSTOMERS = '{"customer": 7}\n{"customer": 8}\n{"customer": 7}\n{"customer": null}\n'


def test_an_ordering_key_from_each_payload_keeps_a_file_in_order(
    xclaim: CommandLine, queue: Queue
) -> None:
    xclaim("ordering", "enable")

    pushed = xclaim(
        *("push", "orders", "--ordering-key-field", "customer"), stdin=LINES_OF_CUSTOMERS
    )

    claims = queue.claim_many(9)
    assert pushed.values == [{"queue": "orders", "pushed": 4, "new": 4}]
    assert [claim.message.ordering_key for claim in claims] == ["7", "8", None]
    assert queue.counts().in_line == 1


def test_one_payload_has_its_ordering_key_from_a_field_too(
    sqlite_xclaim: CommandLine, sqlite_queue: Queue
) -> None:
    for number in (1, 2):
        sqlite_xclaim(
            *("push", "orders", f'{{"customer": 7, "id": {number}}}'),
            *("--ordering-key-field", "customer", "--unique-key-field", "id"),
        )

    (claim,) = sqlite_queue.claim_many(9)
    assert (claim.message.ordering_key, claim.message.unique_key) == ("7", "1")


@pytest.mark.parametrize("line", ["[1]", '{"name": 1}', '{"customer": 1.5}', '{"customer": true}'])
def test_a_payload_without_the_field_of_its_ordering_key_is_named(
    refused: Callable[..., str], line: str
) -> None:
    stdin = f'{{"customer": 1}}\n{line}\n'.encode()

    error = refused("push", "orders", "-", "--ordering-key-field", "customer", stdin=stdin)

    assert error.startswith("line 2 has no field 'customer'")
    assert "for --ordering-key-field" in error


def test_two_lines_of_one_key_are_the_same_payload_or_refused(
    xclaim: CommandLine, queue: Queue
) -> None:
    same = xclaim(
        *("push", "orders", "-", "--unique-key-field", "id"),
        stdin='{"id": 1, "count": 2}\n{"count": 2.0, "id": 1}\n',
    )
    other = xclaim(
        *("push", "orders", "-", "--unique-key-field", "id"),
        stdin='{"id": 2, "count": 2}\n{"id": 2, "count": 3}\n',
    )

    assert (same.status, other.status) == (0, 2)
    assert same.values[0] == {"queue": "orders", "pushed": 2, "new": 1}
    assert other.errors[0].endswith("(lines 1, 2)")
    assert [message.unique_key for message in queue.peek(10)] == ["1"]


def test_another_payload_under_a_key_pushes_nothing(
    sqlite_xclaim: CommandLine, sqlite_queue: Queue
) -> None:
    sqlite_queue.push({"id": 2, "item": "cup"}, unique_key="2")

    pushed = sqlite_xclaim("push", "orders", "-", "--unique-key-field", "id", stdin=TWO_LINES)

    assert pushed.status == 2
    assert pushed.errors[0].startswith("error: queue 'orders' has another payload under")
    assert pushed.errors[0].endswith("(line 3)")
    assert sqlite_queue.counts().available == 1


BAD_LINES = [
    (b"nope", "line 2 is not JSON"),
    (b'{"id": NaN}', "line 2 is not JSON (JSON has no NaN)"),
    (b"-Infinity", "line 2 is not JSON"),
    (b"1e999", "line 2: the number 1e999 would not come back"),
    (b'{"id": "a\\u0000"}', "line 2: payload.id has a NUL"),
    (b'["\\ud800"]', "line 2: payload[0] has a NUL or a lone surrogate"),
    (b'{"id": "\xff"}', "line 2 is not UTF-8"),
    (b"[" * 100_000, "line 2 is not JSON (nested too deeply)"),
    (b"9" * 5_000, "line 2: a number has 5,000 digits"),
]


@pytest.mark.parametrize(("line", "problem"), BAD_LINES, ids=[text for _, text in BAD_LINES])
def test_a_bad_line_is_named_and_nothing_is_pushed(
    refused: Callable[..., str], line: bytes, problem: str
) -> None:
    error = refused("push", "orders", "-", stdin=b'{"id": 1}\n' + line + b'\n{"id": 3}\n')

    assert error.startswith(problem)


def test_a_bad_line_after_whole_batches_pushes_nothing(
    sqlite_xclaim: CommandLine, sqlite_queue: Queue
) -> None:
    pushed = sqlite_xclaim("push", "orders", "-", stdin="1\n" * 2_500 + "nope\n")

    assert pushed.status == 2
    assert "line 2501 is not JSON" in pushed.stderr
    assert sqlite_queue.counts().available == 0


@pytest.mark.parametrize("line", ["[1]", '{"name": 1}', '{"id": null}', '{"id": 1.5}', "{}"])
def test_a_payload_without_its_key_is_named(refused: Callable[..., str], line: str) -> None:
    stdin = f'{{"id": 1}}\n{line}\n'.encode()

    error = refused("push", "orders", "-", "--unique-key-field", "id", stdin=stdin)

    assert error.startswith("line 2 has no field 'id'")


def test_a_byte_order_mark_is_no_part_of_the_payload(
    sqlite_xclaim: CommandLine, sqlite_queue: Queue
) -> None:
    sqlite_xclaim("push", "orders", "-", stdin='\ufeff{"id": 1}\r\n')

    assert sqlite_queue.peek()[0].payload == {"id": 1}


def test_a_slow_stdin_keeps_no_other_writer_waiting(
    sqlite_xclaim: CommandLine, sqlite_queue: Queue
) -> None:
    fed = sqlite_xclaim.shell(
        "mkfifo lines; $xclaim push orders - <lines & exec 3>lines; echo 1 >&3;"
        " $xclaim push orders 2 --quiet; exec 3>&-; wait"
    )

    assert [line.get("pushed", line.get("payload")) for line in fed.values] == [2, 1]
    assert sqlite_queue.counts().available == 2


def test_progress_is_shown_on_a_terminal(
    sqlite_xclaim: CommandLine, sqlite_queue: Queue, tmp_path: Path
) -> None:
    (tmp_path / "lines.jsonl").write_text(TWO_LINES)

    with (tmp_path / "lines.jsonl").open("rb") as lines:
        shown = sqlite_xclaim.on_terminal("push", "orders", "-", stdin=lines)

    assert "pushing" in shown
    assert "2 lines" in shown
    assert "100%" in shown
    assert sqlite_queue.counts().available == 2


def test_stderr_that_is_no_terminal_gets_no_progress(sqlite_xclaim: CommandLine) -> None:
    pushed = sqlite_xclaim("push", "orders", "-", "--quiet", stdin=TWO_LINES)

    assert (pushed.status, pushed.stderr) == (0, "")


WRONG_USE = [
    (("push", "", "1"), "queue name is empty"),
    (("push", "q" * 10_000, "1"), "10,000 bytes long"),
    (("push", "orders.dead", "1"), "is a dead-letter queue"),
    (("push", "orders", "nope"), "PAYLOAD is not JSON"),
    (("push", "orders", "nope"), "there is no file of this name"),
    (("push", "orders", "nope.jsonl"), "there is no file 'nope.jsonl' here"),
    (("push", "orders", "x" * 5_000), "PAYLOAD is not JSON"),
    (("push", "orders", "1", "--max-attempts", "few"), "'few' is no whole number"),
    (("push", "orders", "NaN"), "JSON has no NaN"),
    (("push", "orders", "1e400"), "the number 1e400 would not come back"),
    (("push", "orders", "[-5e400]"), "the number -5e400 would not come back"),
    (("push", "orders", "-5"), "put `--` before an argument that begins with a dash"),
    (("push", "-rf", "1"), "put `--` before an argument that begins with a dash"),
    (("push", "orders", '"\\u0000"'), "payload has a NUL"),
    (("push", "orders", "1", "--delay", "-5m"), "is no duration: write 30s, 5m, 2h or 7d"),
    (("push", "orders", "1", "--delay", "5"), "is no duration: write 30s, 5m, 2h or 7d"),
    (("push", "orders", "1", "--delay", "9" * 30 + "d"), "is too long"),
    (("push", "orders", "1", "--delay", "99999d"), "delay must lie between"),
    (("push", "orders", "1", "--priority", "40000"), "priority must lie between"),
    (("push", "orders", "1", "--max-attempts", "0"), "max_attempts must lie between"),
    (
        ("push", "orders", "1", "--header", "source"),
        "--header 'source' lacks a name or a value: write NAME=VALUE",
    ),
    (("push", "orders", "-", "--unique-key", "a"), "--unique-key is for one payload"),
    (("push", "orders", "1", "--on-dead", "hold"), "is for messages with an --ordering-key"),
    (("push", "orders", "1", "--ordering-key", "a" * 2_000), "at most 255 are allowed"),
    (("push", "orders", "{}", "--unique-key", "a", "--unique-key-field", "id"), "exclude"),
    (("push", "orders", "{}", "--ordering-key", "a", "--ordering-key-field", "b"), "exclude"),
]


@pytest.mark.parametrize(("arguments", "problem"), WRONG_USE, ids=[text for _, text in WRONG_USE])
def test_wrong_use_of_push_is_explained_in_a_line(
    refused: Callable[..., str], arguments: tuple[str, ...], problem: str
) -> None:
    assert problem in refused(*arguments)


@pytest.mark.parametrize("payload", ["-0.0", "1e-400", '{"a": 1, "a": 2}', "1" * 5_000])
def test_json_that_is_refused_is_not_looked_for_as_a_file(
    refused: Callable[..., str], payload: str
) -> None:
    assert "no file" not in refused("push", "orders", "--", payload)


def test_behind_two_dashes_a_payload_and_a_queue_may_begin_with_one(
    xclaim: CommandLine,
) -> None:
    done = xclaim("push", "--", "-rf", "-5")

    assert (done.status, done.values[0]["queue"], done.values[0]["payload"]) == (0, "-rf", -5)


def test_a_folder_that_is_given_for_a_file_is_named(xclaim: CommandLine, tmp_path: Path) -> None:
    done = xclaim("push", "orders", str(tmp_path))

    assert done.status == 74
    assert str(tmp_path) in done.errors[-1]
