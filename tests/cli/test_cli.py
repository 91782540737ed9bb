"""The command line, as a process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from xclaim import Queue, migrate


class Shell:
    """Runs `xclaim` in a folder, on a database."""

    def __init__(self, folder: Path, url: str | None) -> None:
        self.folder = folder
        self.environment = {
            key: value for key, value in os.environ.items() if not key.startswith("XCLAIM")
        }
        if url is not None:
            self.environment["XCLAIM_DATABASE_URL"] = url

    def __call__(self, *arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "xclaim", *arguments],
            input=given,
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )


@pytest.fixture
def xclaim(tmp_path: Path, database_url: str) -> Shell:
    return Shell(tmp_path, database_url)


@pytest.fixture
def queue(database_url: str) -> Queue:
    return Queue("orders", database_url)


def lines(result: subprocess.CompletedProcess[str]) -> list[Any]:
    assert result.returncode == 0, result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_from_upgrade_to_ack_in_the_current_folder(tmp_path: Path) -> None:
    xclaim = Shell(tmp_path, None)

    upgraded = xclaim("upgrade")
    (pushed,) = lines(xclaim("push", "orders", '{"id": 1}'))
    claimed = xclaim("claim", "orders")
    (acked,) = lines(xclaim("ack", given=claimed.stdout))

    assert upgraded.stderr == "database: sqlite:///xclaim.db\n"
    assert (tmp_path / "xclaim.db").exists()
    assert pushed["payload"] == {"id": 1}
    assert acked == {"id": 1, "queue": "orders", "status": "consumed"}


def test_lines_of_stdin_are_pushed_and_counted(xclaim: Shell, queue: Queue) -> None:
    given = "".join(f'{{"id": {number}}}\n' for number in range(2_500)) + "\n"

    result = xclaim("push", "orders", "-", "--unique-key-field", "id", given=given)

    assert lines(result) == [{"queue": "orders", "pushed": 2_500}]
    assert queue.counts().available == 2_500
    assert queue.peek()[0].unique_key == "0"


def test_a_bad_line_is_named_and_nothing_is_pushed(xclaim: Shell, queue: Queue) -> None:
    given = "1\n" * 1_500 + '{"a": NaN}\n'

    result = xclaim("push", "orders", given=given)

    assert result.returncode == 2
    assert "line 1501 is not JSON" in result.stderr
    assert queue.counts().available == 0


def test_push_takes_every_option(xclaim: Shell) -> None:
    options = "--unique-key k --priority 3 --delay 2h --max-attempts 4 --header trace=a=b --quiet"

    (message,) = lines(xclaim("push", "orders", '"x"', *options.split()))

    assert message["unique_key"] == "k"
    assert message["priority"] == 3
    assert message["max_attempts"] == 4
    assert message["headers"] == {"trace": "a=b"}
    assert message["available_at"] > message["created_at"]


def test_claims_can_be_extended_released_and_acked_as_lines(xclaim: Shell, queue: Queue) -> None:
    queue.push_many([1, 2, 3])
    claims = xclaim("claim", "orders", "--limit", "3", "--claimed-by", "me", "--lease", "1h")
    first, second, third = claims.stdout.splitlines()

    (extended,) = lines(xclaim("extend", first, "--lease", "9h"))
    released = xclaim("release", "--delay", "1d", "--error", "why", "--no-count", given=second)
    acked = xclaim("ack", given=f"{first}\n{third}\n")

    assert extended["message"]["claim_expires_at"] > json.loads(first)["message"]["claimed_at"]
    assert [line["last_error"] for line in lines(released)] == ["why"]
    assert [line["id"] for line in lines(acked)] == [1, 3]
    assert (queue.counts().consumed, queue.counts().delayed) == (2, 1)


def test_nothing_to_claim_is_status_1(xclaim: Shell) -> None:
    result = xclaim("claim", "orders")

    assert (result.returncode, result.stdout) == (1, "")


def test_a_lost_claim_is_status_3_and_the_others_are_acked(xclaim: Shell, queue: Queue) -> None:
    queue.push_many([1, 2])
    claims = queue.claim_many(2)
    queue.ack(claims[0])

    result = xclaim("ack", given="\n".join(json.dumps(claim.to_dict()) for claim in claims))

    assert result.returncode == 3
    assert "error: claim lost on message 1 in 'orders'" in result.stderr
    assert queue.counts().consumed == 2


def test_a_key_with_another_payload_is_status_2(xclaim: Shell) -> None:
    xclaim("push", "orders", "1", "--unique-key", "k")

    result = xclaim("push", "orders", "2", "--unique-key", "k")

    assert result.returncode == 2
    assert "another payload under unique_key 'k'" in result.stderr


def test_peek_and_stats_show_the_queue(xclaim: Shell, queue: Queue) -> None:
    queue.push_many([{"n": 1}, {"n": 2}])

    peeked = lines(xclaim("peek", "orders", "--limit", "1"))
    (stats,) = lines(xclaim("stats"))
    (nothing,) = lines(xclaim("stats", "other"))
    table = xclaim("stats", "orders", "--table").stdout

    assert [message["payload"] for message in peeked] == [{"n": 1}]
    assert (stats["queue"], stats["available"], stats["oldest_claim_age"]) == ("orders", 2, None)
    assert isinstance(stats["oldest_available_age"], float)
    assert nothing["available"] == 0
    assert "orders" in table


def test_upkeep_counts_what_it_did(xclaim: Shell, queue: Queue) -> None:
    from datetime import timedelta

    queue.push_many([1, 2], max_attempts=1)
    _lapsed, acked = queue.claim_many(2, lease=timedelta(0))
    queue.ack(acked)

    expired = lines(xclaim("expire", "orders"))
    redriven = lines(xclaim("redrive", "orders", "--limit", "5"))
    pruned = lines(xclaim("prune", "orders", "--older-than", "0s"))

    assert expired == [{"queue": "orders", "expired": 1}]
    assert redriven == [{"queue": "orders", "redriven": 1}]
    assert pruned == [{"queue": "orders", "pruned": 1}]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["claim", "orders", "--lease", "-5m"], "is no duration"),
        (["claim", "orders", "--lease", "5"], "write 30s, 5m, 2h or 7d"),
        (["claim", "orders", "--limit", "0"], "limit must lie between 1"),
        (["claim", "x" * 10_000], "10,000 bytes"),
        (["push", "", "1"], "queue name is empty"),
        (["push", "orders.dead", "1"], "push to 'orders'"),
        (["push", "orders", "{"], "PAYLOAD is not JSON"),
        (["push", "orders", '"\\u0000"'], "payload has a NUL"),
        (["push", "orders", "1", "--header", "x"], "write NAME=VALUE"),
        (["push", "orders", "1", "--unique-key-field", "id"], "no field 'id'"),
        (["ack", "{}"], "not a claim"),
        (["ack", "1"], "a claim is a JSON object"),
        (["prune", "orders"], "--older-than"),
        (["stats", "--url", "mysql://u:secret@h/d"], "'mysql' is not supported"),
        (["upgrade", "nowhere"], "'nowhere' cannot be reached"),
        (["nonsense"], "No such command"),
    ],
    ids=lambda value: " ".join(value)[:30] if isinstance(value, list) else "",
)
def test_wrong_use_is_status_2_and_one_clear_line(
    tmp_path: Path, sqlite_url: str, arguments: list[str], named: str
) -> None:
    result = Shell(tmp_path, sqlite_url)(*arguments)

    assert result.returncode == 2
    assert named in result.stderr
    assert "Traceback" not in result.stderr
    assert "secret" not in result.stderr
    with Queue("orders", sqlite_url) as queue:
        assert queue.counts().available == 0


def test_a_missing_schema_is_status_4(tmp_path: Path, empty_postgresql_url: str) -> None:
    on_sqlite = Shell(tmp_path, None)("claim", "orders")
    on_postgresql = Shell(tmp_path, empty_postgresql_url)("claim", "orders")

    for result in (on_sqlite, on_postgresql):
        assert result.returncode == 4
        assert "run `xclaim upgrade`" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_an_old_schema_is_status_4(tmp_path: Path, empty_database_url: str) -> None:
    migrate.upgrade(empty_database_url, "0001")

    result = Shell(tmp_path, empty_database_url)("stats")

    assert result.returncode == 4
    assert "run `xclaim upgrade`" in result.stderr


def test_an_unreachable_server_is_status_4_without_the_password(tmp_path: Path) -> None:
    result = Shell(tmp_path, "postgresql://u:secret@127.0.0.1:1/d")("claim", "orders")

    assert result.returncode == 4
    assert "port 1 failed" in result.stderr
    assert "secret" not in result.stderr
    assert "Traceback" not in result.stderr


def test_upgrade_and_downgrade_take_a_schema(tmp_path: Path, empty_postgresql_url: str) -> None:
    xclaim = Shell(tmp_path, empty_postgresql_url)

    upgraded = lines(xclaim("upgrade", "--schema", "work"))
    pushed = lines(xclaim("push", "orders", "1", "--schema", "work"))
    downgraded = lines(xclaim("downgrade", "base", "--schema", "work"))

    assert upgraded == [{"revision": "0002"}]
    assert len(pushed) == 1
    assert downgraded == [{"revision": None}]


def test_the_demo_ends_with_every_payload_consumed_once(tmp_path: Path) -> None:
    result = Shell(tmp_path, None)("demo")

    assert result.returncode == 0, result.stderr
    assert "all 100 payloads were consumed exactly once" in result.stdout
    assert list(tmp_path.iterdir()) == []


def test_help_and_version_need_no_database(tmp_path: Path) -> None:
    xclaim = Shell(tmp_path, None)

    assert "Commands:" in xclaim("--help").stdout
    assert "xclaim, version" in xclaim("--version").stdout
