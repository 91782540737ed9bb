"""Plain JSON: the quick way and the closer look are one way, and end as Python's json does."""

from __future__ import annotations

import json
import math
import sys
from collections import OrderedDict, namedtuple
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from xclaim import PayloadError
from xclaim.payloads import plain_json
from xclaim.payloads.plain_json import (
    MAX_DEPTH,
    decode,
    encode,
    encode_at_once,
    encode_closely,
    encode_many_at_once,
)

JSON = some.recursive(
    some.none() | some.booleans() | some.integers() | some.floats() | some.text(),
    lambda inner: some.lists(inner, max_size=4) | some.dictionaries(some.text(), inner, max_size=4),
    max_leaves=12,
)


class Color(StrEnum):
    RED = "red"


class Size(IntEnum):
    LARGE = 3


class Kind(Enum):
    """An enumeration whose members say they are what they stand for."""

    ONE = "one"

    def __eq__(self, other: object) -> bool:
        return bool(self.value == other)

    __hash__ = Enum.__hash__


@dataclass
class Order:
    id: int = 1


@dataclass
class Impostor:
    """A dataclass that says it is whatever it is compared with."""

    id: int = 1

    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = None  # type: ignore[assignment]


@dataclass(repr=False)
class Broken:
    id: int = 1

    def __getattribute__(self, name: str) -> Any:
        if name == "id":
            raise KeyError(name)
        return super().__getattribute__(name)


class Text(str):
    __slots__ = ()


Point = namedtuple("Point", ["x"])

ODD: list[Any] = [
    (1, 2), {1, 2}, frozenset([1]), b"bytes", bytearray(b"bytes"), memoryview(b"bytes"),
    math.nan, math.inf, -math.inf, 1j, range(3), object(), Order, len,
    {1: 2}, {True: 1}, {None: 1}, {1.5: 1}, {(1, 2): 3}, {b"k": 1}, {"a": 1, 2: 3},
    date(2026, 1, 1), datetime(2026, 1, 1, tzinfo=UTC), Decimal("1.10"), UUID(int=7),
    Color.RED, Size.LARGE, Kind.ONE, {Color.RED: 1}, {Kind.ONE: 1}, Order(), Impostor(), Broken(),
    Text("x"), {Text("k"): Text("v")}, OrderedDict(b=1, a=2), Point(1),
    "\ud800", {"\udfff": 1}, "\x00", {"\x00": 1}, "\\u0000", {"\\u0000": "\\"}, "\\\\u0000",
    10**5_000, -(10**5_000),
]  # fmt: skip
SOUND: list[Any] = [
    None, True, False, 0, 1, -1, 2**53 + 1, 2**63, -(2**63) - 1, 2**64, 2**200, 10**400,
    0.0, -0.0, 0.1, 1e16, 1e22, 1e-7, 5e-324, 1.7976931348623157e308, 123456789.123456789,
    "", "é", "😀", "\x7f\x1f\b\f\n\r\t\"\\/\u2028", [], {}, [[]], {"": {}},
    {"é": 1, "z": 2, "😀": 3},
]  # fmt: skip


def outcome(call: Any, *arguments: Any) -> tuple[str, ...]:
    """Return how a call ends; the repr tells 1 from True and from 1.0."""
    try:
        encoded = call(*arguments)
    except PayloadError as error:
        return "refused", str(error)
    return encoded.text, repr(encoded.value)


def in_places(value: Any) -> list[Any]:
    return [value, [value], {"a": value}, [1, {"a": [value, value]}]]


@given(JSON)
def test_the_quick_way_ends_as_the_closer_look(value: Any) -> None:
    quick = encode_at_once(value)

    assert quick is None or outcome(lambda: quick) == outcome(encode_closely, value, "payload")


@pytest.mark.parametrize("value", ODD, ids=lambda value: type(value).__name__)
def test_what_is_odd_ends_as_the_closer_look(value: Any) -> None:
    for each in in_places(value):
        assert outcome(encode, each, "payload 3") == outcome(encode_closely, each, "payload 3")


@pytest.mark.parametrize("value", ODD, ids=lambda value: type(value).__name__)
def test_what_is_odd_is_not_decided_in_a_hurry(value: Any) -> None:
    assert all(encode_at_once(each) is None for each in in_places(value))


@given(some.lists(JSON, min_size=1, max_size=5))
def test_many_end_as_each_of_them(values: list[Any]) -> None:
    each = [encode_at_once(value) for value in values]
    many = encode_many_at_once(values)

    if many is None or None in each:
        assert many is None
        assert None in each
    else:
        assert many[0] == [one.text for one in each if one is not None]
        assert repr(many[1]) == repr([one.value for one in each if one is not None])


@pytest.mark.parametrize("value", ODD, ids=lambda value: type(value).__name__)
def test_one_that_is_odd_among_many_is_not_decided_in_a_hurry(value: Any) -> None:
    assert all(encode_many_at_once([1, each, "a\nb"]) is None for each in in_places(value))


def test_many_are_told_apart_and_one_that_is_too_deep_is_not_decided_in_a_hurry() -> None:
    deep: Any = []
    for _ in range(MAX_DEPTH - 1):
        deep = [deep]

    assert encode_many_at_once(SOUND) == (
        [encode(value).text for value in SOUND],
        [encode(value).value for value in SOUND],
    )
    assert encode_many_at_once(["a\nb", "\n", ""]) == (
        ['"a\\nb"', '"\\n"', '""'],
        ["a\nb", "\n", ""],
    )
    assert encode_many_at_once([deep, {"a": "x" * 300}]) is not None
    assert encode_many_at_once(["x" * 300, [deep]]) is None


@pytest.mark.parametrize("value", SOUND, ids=lambda value: type(value).__name__)
def test_what_is_sound_is_encoded_at_once_as_json_has_it(value: Any) -> None:
    for each in in_places(value):
        quick = encode_at_once(each)

        assert quick is not None
        assert repr(json.loads(quick.text)) == repr(quick.value)
        assert outcome(lambda quick=quick: quick) == outcome(encode_closely, each, "payload")
        assert repr(quick.value) == repr(json.loads(json.dumps(each, sort_keys=True)))


@given(JSON)
def test_equal_payloads_are_equal_texts(value: Any) -> None:
    def tuples(each: Any) -> Any:
        if isinstance(each, dict):
            return {key: tuples(each[key]) for key in reversed(each)}
        return tuple(map(tuples, each)) if isinstance(each, list) else each

    one, other = outcome(encode, value), outcome(encode, tuples(value))

    assert one == other or one[0] == other[0] == "refused"


@pytest.mark.parametrize("number", [1e16, 1e22, 1e-7, 2.5e-310])
def test_a_number_is_the_same_text_whichever_way_it_took(number: float) -> None:
    assert encode([number]).text == encode((number,)).text


def test_cycles_are_refused_however_they_branch() -> None:
    line: list[Any] = []
    line.append(line)
    bush: list[Any] = []
    bush += [bush, bush, {"more": bush}]

    for value in (line, bush):
        with pytest.raises(PayloadError, match="contain a cycle"):
            encode(value)


@contextmanager
def recursion_limit(limit: int) -> Iterator[None]:
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(limit)
    try:
        yield
    finally:
        sys.setrecursionlimit(before)


@pytest.mark.parametrize("depth", [10, MAX_DEPTH, MAX_DEPTH + 1, 500, 900, 100_000])
@pytest.mark.parametrize("wrap", [lambda value: [value, 1], lambda value: {"a": 1, "in": value}])
def test_what_is_nested_deeply_is_encoded_or_refused_as_the_closer_look_does(
    depth: int, wrap: Callable[[Any], Any]
) -> None:
    value: Any = 1
    for _ in range(depth):
        value = wrap(value)

    with recursion_limit(2_000):
        found, expected = outcome(encode, value), outcome(encode_closely, value, "payload")

    assert found == expected
    assert (found[0] == "refused") == (depth > MAX_DEPTH)


def test_much_beside_each_other_is_not_deep() -> None:
    wide = [[{"id": number}] for number in range(1_000)]

    assert encode(wide).value == wide


def test_a_closer_look_is_not_taken_at_what_is_no_json_at_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(plain_json, "_quick_encode", asked.append)

    assert encode_at_once(b"x" * 1_000) is None
    assert not asked


NUMBERS = some.from_regex(
    r"-?(0|[1-9][0-9]{0,25})(\.[0-9]{1,25})?([eE][+-]?[0-9]{1,3})?", fullmatch=True
)


def read_by(call: Any, text: str) -> str:
    try:
        return repr(call(text))
    except ValueError as error:
        return type(error).__name__


@settings(suppress_health_check=[HealthCheck.filter_too_much])
@given(NUMBERS | JSON.map(json.dumps) | some.text(max_size=5))
def test_what_is_stored_is_read_as_json_reads_it(text: str) -> None:
    assert read_by(decode, text) == read_by(json.loads, text)


@pytest.mark.parametrize(
    "text", ["NaN", "[Infinity]", "1e400", '"\\ud800"', "-0", '{"a": 1, "a": 2}', "\ud800", "[1"]
)
def test_what_only_a_hand_writes_is_read_as_json_reads_it(text: str) -> None:
    assert read_by(decode, text) == read_by(json.loads, text)


def test_a_number_of_too_many_digits_is_refused_without_advice_for_programmers() -> None:
    with pytest.raises(ValueError, match="5,000 digits") as caught:
        plain_json.decode_strictly("7" * 5_000)

    assert "sys." not in str(caught.value)


def test_what_is_too_deep_is_refused_in_a_sentence_that_fits_one_and_many() -> None:
    deep: Any = 1
    for _ in range(MAX_DEPTH + 1):
        deep = [deep]

    with pytest.raises(PayloadError, match=r"^headers must not contain a cycle"):
        plain_json.encode_headers({"deep": deep})
