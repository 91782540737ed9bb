"""`--places`: the command line finds a queue by its name, and says where it is."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests import databases
from tests.cli.command_line import UNREACHABLE, CommandLine, Outcome
from xclaim import Queue
from xclaim.cli import main
from xclaim.operations import migrate


@pytest.fixture
def urls(tmp_path: Path) -> dict[str, str]:
    urls = {name: databases.sqlite_url(tmp_path / f"{name}.db") for name in ("north", "south")}
    for url in urls.values():
        migrate.upgrade(url)
    return urls


@pytest.fixture
def file(tmp_path: Path, urls: dict[str, str]) -> Path:
    file = tmp_path / "places.toml"
    file.write_text(
        f'[north]\nqueues = ["orders*"]\nurl = "{urls["north"]}"\n'
        f'[south]\nqueues = ["*"]\nurl = "{urls["south"]}"\n'
    )
    return file


@pytest.fixture
def placed(nowhere: CommandLine, file: Path) -> CommandLine:
    environment = {**nowhere.environment, "XCLAIM_PLACES": str(file)}
    return replace(nowhere, environment=environment)


def test_a_push_goes_to_the_place_of_the_queue(placed: CommandLine, urls: dict[str, str]) -> None:
    pushed = [placed("push", name, "1") for name in ("orders", "parcels")]

    assert [outcome.status for outcome in pushed] == [0, 0]
    assert "place: north, database: sqlite:///" in pushed[0].stderr
    assert "place: south" in pushed[1].stderr
    with Queue("orders", urls["north"]) as orders, Queue("parcels", urls["south"]) as parcels:
        assert (orders.counts().available, parcels.counts().available) == (1, 1)


def test_claims_of_several_places_are_acked_together(
    placed: CommandLine, urls: dict[str, str]
) -> None:
    for name in ("orders", "parcels"):
        placed("push", name, "1")
    claims = "".join(placed("claim", name).stdout for name in ("orders", "parcels"))

    acked = placed("ack", stdin=claims)

    assert [value["queue"] for value in acked.values] == ["orders", "parcels"]
    with Queue("orders", urls["north"]) as orders, Queue("parcels", urls["south"]) as parcels:
        assert (orders.counts().consumed, parcels.counts().consumed) == (1, 1)


def test_orphans_of_a_place_are_those_of_its_queues(placed: CommandLine, tmp_path: Path) -> None:
    folder = tmp_path / "payloads"
    storage = {"XCLAIM_STORAGE": folder.as_uri(), "XCLAIM_STORAGE_THRESHOLD": "10"}
    storing = replace(placed, environment={**placed.environment, **storage})
    for queue in ("orders", "parcels"):
        storing("push", queue, '"longer than that"')
        (folder / queue / ("0" * 32)).write_bytes(b"left")
    for path in folder.glob("*/*"):
        os.utime(path, (time.time() - 7_200,) * 2)

    every = ("prune", "--orphans", "--older-than", "1h", "--every", "--place")
    north, south = (storing(*every, place).values[0] for place in ("north", "south"))

    found = {"examined": 4, "orphans": 1, "bytes": 4, "removed": 1, "left": 2}
    assert (north, south) == (found, {**found, "examined": 3, "left": 1})
    assert [len([*(folder / queue).iterdir()]) for queue in ("orders", "parcels")] == [1, 1]


def test_an_operator_acks_by_id_in_the_place_of_the_queue(placed: CommandLine) -> None:
    placed("push", "orders", "1")
    claim = placed("claim", "orders").values[0]

    acked = placed("ack", "orders", str(claim["message"]["id"]))

    assert (acked.status, acked.values[0]["status"]) == (0, "consumed")


def test_the_option_may_stand_on_either_side_of_the_command(
    nowhere: CommandLine, file: Path
) -> None:
    before = nowhere("--places", str(file), "push", "orders", "1")
    after = nowhere("push", "orders", "2", "--places", str(file))

    assert "place: north" in before.stderr
    assert "place: north" in after.stderr


@pytest.fixture
def within(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Outcome]:
    """Return the command line within this process: a tenth of the time."""
    monkeypatch.setenv("XCLAIM_PLACES", str(file))
    monkeypatch.delenv("XCLAIM_DATABASE_URL", raising=False)

    def run(*arguments: str) -> Outcome:
        with pytest.raises(SystemExit) as ending:
            main(arguments)
        captured = capsys.readouterr()
        return Outcome(status=ending.value.code or 0, stdout=captured.out, stderr=captured.err)

    return run


def test_what_is_about_no_queue_asks_for_the_place(within: Callable[..., Outcome]) -> None:
    asked, named = within("stats"), within("stats", "--place", "south")

    assert (asked.status, named.status) == (2, 0)
    assert "name it with --place, north or south" in asked.stderr
    assert "place: south" in named.stderr


def test_a_url_comes_before_the_places_of_the_environment(
    within: Callable[..., Outcome], urls: dict[str, str]
) -> None:
    within("push", "orders", "1", "--url", urls["south"])

    with Queue("orders", urls["south"]) as orders:
        assert orders.counts().available == 1


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--url", "sqlite://", "--places", "p"], "exclude each other"),
        (["--url", "sqlite://", "--place", "p"], "exclude each other"),
        (["--places", "nowhere.toml"], "cannot be read from nowhere.toml"),
    ],
)
def test_what_does_not_go_together_is_refused(
    within: Callable[..., Outcome], options: list[str], complaint: str
) -> None:
    refused = within("push", "orders", "1", *options)

    assert refused.status == 2
    assert complaint in refused.stderr


def test_a_place_without_places_is_refused(
    within: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("XCLAIM_PLACES")

    refused = within("stats", "--place", "north")

    assert refused.status == 2
    assert "name their file with --places" in refused.stderr


def test_an_unknown_place_is_refused(within: Callable[..., Outcome]) -> None:
    refused = within("stats", "--place", "west")

    assert refused.status == 2
    assert "there is no place 'west', only north, south" in refused.stderr


def test_a_missing_schema_names_its_place(nowhere: CommandLine, tmp_path: Path) -> None:
    file = tmp_path / "places.toml"
    file.write_text(f'[north]\nqueues = ["*"]\nurl = "sqlite:///{tmp_path}/none.db"\n')

    refused = nowhere("push", "orders", "1", "--places", str(file))
    upgraded = nowhere("upgrade", "--places", str(file), "--place", "north")
    pushed = nowhere("push", "orders", "1", "--places", str(file))

    assert f"`xclaim upgrade --places {file} --place north`" in refused.stderr
    assert (upgraded.status, pushed.status) == (0, 0)
    assert json.loads(pushed.stdout)["queue"] == "orders"


@pytest.fixture
def split(nowhere: CommandLine, tmp_path: Path, urls: dict[str, str]) -> CommandLine:
    file = tmp_path / "split.toml"
    file.write_text(
        f'[north]\nqueues = ["orders.[01]"]\nurl = "{urls["north"]}"\n'
        f'[south]\nqueues = ["*"]\nurl = "{urls["south"]}"\n[parts]\norders = 4\n'
    )
    environment = {**nowhere.environment, "XCLAIM_PLACES": str(file)}
    return replace(nowhere, environment=environment)


def test_a_split_queue_is_one_queue(split: CommandLine) -> None:
    lines = "".join(f'{{"id": {number}}}\n' for number in range(20))
    pushed = split("push", "orders", "--unique-key-field", "id", stdin=lines)
    again = split("push", "orders", "--unique-key-field", "id", stdin=lines)
    assert [json.loads(each.stdout)["new"] for each in (pushed, again)] == [20, 0]
    assert "place: north" in pushed.stderr
    assert "place: south" in pushed.stderr

    claims = "".join(split("claim", "orders", "--limit", "20").stdout for _ in range(4))
    acked = split("ack", stdin=claims)

    assert acked.status == 0
    (stats,) = split("stats", "orders").stdout.splitlines()
    assert json.loads(stats)["consumed"] == 20
    assert split("stats", "orders", "--errors").stdout == ""
    assert split("claim", "orders").status == 1


@pytest.mark.parametrize("options", [(), ("--wait", "10ms")])
def test_a_place_that_is_away_is_not_told_as_empty(
    split: CommandLine, urls: dict[str, str], options: tuple[str, ...]
) -> None:
    file = Path(split.environment["XCLAIM_PLACES"])
    file.write_text(file.read_text().replace(urls["south"], UNREACHABLE))
    with Queue("orders.0", urls["north"]) as part:
        part.push(1)

    claimed, refused = (split("claim", "orders", *options) for _ in range(2))

    assert (claimed.status, refused.status) == (0, 4)
    assert "is in place 'south'" in refused.stderr
    assert not refused.stdout


def test_what_waits_is_limited_in_each_part_of_a_split_queue(split: CommandLine) -> None:
    limited = split("limits", "orders", "--max-backlog", "2")
    shown = split("limits", "orders")
    refused = split("limits", "orders", "--concurrency", "2")
    ended = split("limits", "orders", "--none")

    assert limited.values == shown.values
    assert shown.values[0]["max_backlog"] == 8  # of four parts
    assert refused.status == 2
    assert "each part" in refused.stderr
    assert ended.values[0]["max_backlog"] is None


def test_the_errors_of_a_split_queue_are_of_its_parts(split: CommandLine) -> None:
    split("push", "orders", "1")
    claimed = split("claim", "orders").stdout
    split("release", "--error", "no", stdin=claimed)

    (line,) = split("stats", "orders", "--errors").stdout.splitlines()

    assert json.loads(line)["queue"].startswith("orders.")


def test_an_unknown_split_queue_is_called_unknown(split: CommandLine) -> None:
    assert "queue 'orders' is unknown" in split("peek", "orders").stderr


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("push", "orders", "-"), "name --unique-key-field"),
        (("push", "orders", "-", "--ordering-key-field", "customer"), "push them one by one"),
        (("push", "orders", "-", "--ordering-key", "customer-7"), "push them one by one"),
        (("claims", "orders"), "name it with --place"),
        (("push", "orders", "1", "--place", "north"), "name one of its parts with --place"),
        (("get", "orders", "1"), "an id is known to one part"),
    ],
)
def test_what_is_about_one_database_is_refused(
    split: CommandLine, words: tuple[str, ...], complaint: str
) -> None:
    outcome = split(*words, stdin="1\n")

    assert outcome.status == 2
    assert complaint in outcome.stderr
