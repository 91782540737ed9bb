"""The command line keeps numbers exactly or refuses them, on the way in and on the way out."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import click
import pytest
from sqlalchemy import Engine, text

from tests.cli.command_line import CommandLine
from xclaim import Queue, create_engine
from xclaim.cli.json_text import json_text
from xclaim.cli.lines import claims_of, json_lines, parse_json
from xclaim.errors import PayloadError
from xclaim.payloads import plain_json

KEPT = [
    "0",
    "1",
    "-1",
    "0.1",
    "0.30000000000000004",
    "1.5e10",
    "1e16",
    "1E400".replace("400", "40"),
    "5e-324",
    "1.7976931348623157e308",
    "9007199254740993",
    "18446744073709551616",
    "-9223372036854775809",
    "1" + "0" * 400,
    "2.5e-7",
]
REFUSED = [
    "0.1000000000000000055511151231257827",
    "1e-400",
    "-1e-400",
    "1e400",
    "-1e400",
    "1e999999999999999999999999",
    "1e-999999999999999999999999",
    "0.1e-400",
    "-0.0",
    "-0",
    "-0e5",
    "123456789.12345678901",
    "9007199254740993.0",
    "1" * 5_000,
    "NaN",
    "Infinity",
    "-Infinity",
]


@pytest.mark.parametrize("number", KEPT, ids=lambda number: number[:20])
def test_a_number_that_is_taken_is_the_same_number(number: str) -> None:
    value = parse_json(f'{{"a": [{number}]}}', "PAYLOAD")

    assert Decimal(json_text(value["a"][0])) == Decimal(number)
    assert Decimal(plain_json.encode(value).text[6:-2]) == Decimal(number)


@pytest.mark.parametrize("number", REFUSED, ids=lambda number: number[:20])
def test_a_number_that_would_be_another_one_is_refused(number: str) -> None:
    for document in (number, f"[{number}]", f'{{"a": {{"b": [1, {number}]}}}}'):
        with pytest.raises((click.UsageError, PayloadError)) as caught:
            plain_json.encode(parse_json(document, "PAYLOAD"))

        said = str(getattr(caught.value, "message", caught.value))
        assert "payload" in said.lower()
        assert len(said) < 300


@pytest.mark.parametrize(
    "document",
    ['{"a": 1, "a": 2}', '{"a": {"b": 1, "b": 1}}', '[{"": 1, "": 2}]', r'{"a": 1, "\u0061": 2}'],
)
def test_a_key_that_stands_twice_is_refused(document: str) -> None:
    with pytest.raises(click.UsageError, match=r"line 1: the key '.?' stands twice"):
        list(json_lines([document.encode()]))


def test_the_same_key_in_two_objects_is_none_that_stands_twice() -> None:
    assert parse_json('[{"a": 1}, {"a": {"a": 2}}]', "PAYLOAD") == [{"a": 1}, {"a": {"a": 2}}]


@pytest.mark.parametrize("number", ["0.1000000000000000055511151231257827", "1e-400", "1E+400"])
def test_what_other_programs_have_pushed_is_printed_as_it_is(number: str) -> None:
    with plain_json.exact_numbers():
        value = plain_json.decode(f'{{"n": [{number}, 0.1]}}')

    printed = json_text(value)

    assert Decimal(json.loads(printed, parse_float=Decimal)["n"][0]) == Decimal(number)
    assert printed.endswith(", 0.1]}")


def test_without_asking_numbers_are_floats() -> None:
    with plain_json.exact_numbers():
        pass

    assert plain_json.decode("0.1000000000000000055511151231257827") == 0.1


def test_nobody_forges_a_number() -> None:
    value = {"n": [Decimal("1.50"), '"', "1e5", "\x00", '{"a": 1}']}

    assert json.loads(json_text(value), parse_float=str)["n"] == ["1.50", *value["n"][1:]]


def test_what_json_has_not_is_printed_as_text() -> None:
    printed = json_text({"n": [float("nan"), float("-inf"), 1.5]})

    assert json.loads(printed) == {"n": ["nan", "-inf", 1.5]}


def test_a_claim_is_settled_whatever_its_numbers(tmp_path: Path) -> None:
    from xclaim.operations.migrate import upgrade

    upgrade(f"sqlite:///{tmp_path}/x.db")
    with Queue("orders", f"sqlite:///{tmp_path}/x.db") as queue:
        queue.push(1)
        claimed = queue.claim()
        assert claimed is not None
        line = json_text(claimed.to_dict()).replace('"payload": 1', '"payload": 1e-400')

        (read,) = claims_of(line)

        queue.ack(read)
        assert queue.counts().consumed == 1


@pytest.fixture
def engine(database_url: str) -> Any:
    engine = create_engine(database_url)
    yield engine
    engine.dispose()


NUMBERS = '{"big": 18446744073709551616, "half": 0.5, "tiny": 5e-324, "tenth": 0.1}'


def test_numbers_come_back_through_both_databases(xclaim: CommandLine) -> None:
    Path(xclaim.folder / "numbers.jsonl").write_text(f"{NUMBERS}\n")
    xclaim("push", "orders", NUMBERS)
    xclaim("push", "orders", stdin=NUMBERS)
    xclaim("push", "orders", "numbers.jsonl")

    peeked = xclaim("peek", "orders").values
    got = xclaim("get", "orders", str(peeked[0]["id"])).values
    claimed = xclaim("claim", "orders", "--limit", "3").values

    payloads = [each["payload"] for each in [*peeked, *got]]
    payloads += [each["message"]["payload"] for each in claimed]
    assert payloads == [json.loads(NUMBERS)] * 7


@pytest.mark.parametrize("number", ["0.1000000000000000055511151231257827", "1e-400", "-0.0"])
def test_what_is_refused_is_pushed_on_no_way(xclaim: CommandLine, number: str) -> None:
    Path(xclaim.folder / "numbers.jsonl").write_text(f"1\n{number}\n")

    outcomes = [
        xclaim("push", "orders", f"[{number}]"),
        xclaim("push", "orders", stdin=f"1\n{number}\n"),
        xclaim("push", "orders", "numbers.jsonl"),
    ]

    assert [outcome.status for outcome in outcomes] == [2, 2, 2]
    assert all(number in outcome.stderr for outcome in outcomes)
    assert xclaim("peek", "orders").values == []


def test_numbers_of_other_programs_are_printed_by_each_command(
    xclaim: CommandLine, engine: Engine
) -> None:
    number = "0.1000000000000000055511151231257827"
    with engine.begin() as connection:
        Queue("orders", connection).push({"n": 0}, unique_key="key")
        value = ":value" if engine.dialect.name == "sqlite" else "CAST(:value AS jsonb)"
        connection.execute(
            text(f"UPDATE xclaim_message SET payload = {value}, headers = {value}"),
            {"value": f'{{"n": {number}}}'},
        )

    printed = [
        xclaim("peek", "orders").stdout,
        xclaim("get", "orders", "1").stdout,
        xclaim("find", "orders", "key").stdout,
        (claimed := xclaim("claim", "orders")).stdout,
    ]
    column = xclaim("get", "orders", "1", "--output", "tsv").stdout

    assert [output.count(number) for output in printed] == [2, 2, 2, 2]
    assert number in column
    assert xclaim("ack", stdin=claimed.stdout).status == 0


def test_push_prints_numbers_of_other_programs_as_they_are(
    xclaim: CommandLine, engine: Engine
) -> None:
    number = "0.1000000000000000055511151231257827"
    with engine.begin() as connection:
        Queue("orders", connection).push({"id": 1}, unique_key="key")
        value = ":value" if engine.dialect.name == "sqlite" else "CAST(:value AS jsonb)"
        connection.execute(
            text(f"UPDATE xclaim_message SET headers = {value}"), {"value": f'{{"n": {number}}}'}
        )

    pushed = xclaim("push", "orders", '{"id": 1}', "--unique-key", "key")

    assert number in pushed.stdout
