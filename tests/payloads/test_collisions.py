"""Numbers that were chosen so that a set of them takes quadratic time."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any
from uuid import UUID

import pytest

from xclaim import PayloadCorruptedError, PayloadError, Payloads
from xclaim.payloads.codecs.collisions import MOST_ALIKE, collide, numbers_collide
from xclaim.payloads.codecs.typed_json import TypedJson

PRIME = 2**61 - 1
MANY = 20_000
INTS = [number * PRIME for number in range(MANY)]


def tagged(kind: str, items: object) -> object:
    return {"$": kind, "value": items}


@pytest.mark.parametrize(
    "items",
    [
        INTS,
        [tagged("decimal", str(number)) for number in INTS],
        [tagged("uuid", str(UUID(int=number))) for number in INTS],
        [tagged("tuple", [number, 1]) for number in INTS],
        [tagged("tuple", [tagged("timedelta", [0, 0, 0]), number]) for number in INTS],
        [tagged("frozenset", [number]) for number in INTS],
        [tagged("int", hex(number)) for number in INTS],
        [tagged("complex", [0.0, tagged("float", "0.0")])] * MANY,
    ],
    ids=["int", "decimal", "uuid", "tuple", "in a tuple", "frozenset", "hexadecimal", "equal"],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["set", "frozenset", "dict"])
def test_a_set_or_dict_of_one_hash_is_refused_before_it_is_made(
    kind: str, items: list[object]
) -> None:
    value = tagged(kind, [[item, 0] for item in items] if kind == "dict" else items)

    with pytest.raises(PayloadCorruptedError, match="the same hash"):
        TypedJson().from_json(value)


@pytest.mark.parametrize("value", [set(INTS[:2_000]), dict.fromkeys(INTS[:2000], 0)])
def test_it_is_refused_at_push_too(value: object) -> None:
    with pytest.raises(PayloadError, match="the same hash, which makes"):
        Payloads().prepare([{"in": value}], "orders")


@pytest.mark.parametrize(
    "value",
    [
        set(range(100_000)),
        {float(number) for number in range(10_000)} | {2.0**e for e in range(1_000)},
        {(x, y, z) for x in range(-9, 9) for y in range(-9, 9) for z in range(-9, 9)},
        {number: str(number) for number in range(10_000)},
        {Decimal(number) / 100 for number in range(10_000)},
        {f"key {number}" for number in range(10_000)},
        set(INTS[:MOST_ALIKE]),
    ],
)
def test_what_nobody_chose_passes(value: object) -> None:
    codec = TypedJson()

    assert codec.from_json(codec.to_json(value)) == value


def test_lists_of_the_same_numbers_pass() -> None:
    codec = TypedJson()

    assert codec.from_json(codec.to_json(INTS)) == INTS
    assert not collide([1] * 0)
    assert not numbers_collide([7] * MANY)


@dataclass
class Numbers:
    numbers: set[int]
    ids: set[UUID]
    prices: set[Decimal]
    counts: dict[int, int]


@pytest.mark.parametrize(
    "numbers",
    [
        {"numbers": INTS},
        {"ids": [str(UUID(int=number)) for number in INTS]},
        {"prices": [str(number) for number in INTS]},
        {"prices": [f"{number}.0" for number in INTS]},
        {"counts": {str(number): 0 for number in INTS}},
    ],
)
def test_a_type_of_ones_own_makes_no_set_of_them(numbers: dict[str, object]) -> None:
    row = {"numbers": [], "ids": [], "prices": [], "counts": {}, **numbers}

    with pytest.raises(PayloadCorruptedError, match="the same hash"):
        Payloads().typed(Numbers).read(json.loads(json.dumps(row)), None, queue="orders")


ARABIC = str.maketrans("0123456789", "٠١٢٣٤٥٦٧٨٩")


@dataclass(frozen=True)
class Place:
    at: int
    name: str = ""


WRITTEN: dict[str, tuple[Any, Callable[[Any], Any]]] = {
    "blank before": (set[int], lambda number: f" {number}"),
    "blanks around": (set[Decimal], lambda number: f"\u2003{number}\t"),
    "underscores": (set[int], lambda number: f"{number:_}"),
    "long exponent": (set[Decimal], lambda number: f"{number}e0000000000"),
    "bare point": (set[Decimal], lambda number: f".{number}"),
    "point at the end": (set[Decimal], lambda number: f"{number}."),
    "arabic digits": (set[Decimal], lambda number: str(number).translate(ARABIC)),
    "complex": (set[complex], lambda number: f"({number % 2**50}{1 - number % 2**50:+}j)"),
    "fraction": (set[Fraction], lambda number: f"{number}/7"),
    "uuid of digits": (set[UUID], lambda number: f"urn:uuid:{UUID(int=number)}"),
    "tuple": (set[tuple[int, int]], lambda number: [number, 0]),
    "tuple in a tuple": (set[tuple[tuple[int], str]], lambda number: [[str(number)], "a"]),
    "frozenset": (set[frozenset[int]], lambda number: [number, 1]),
    "list of objects": (set[Place], lambda number: {"at": number, "other": number}),
}


def alike(name: str) -> list[object]:
    write = WRITTEN[name][1]
    if name == "bare point":  # of a hundred digits each, so that .N is N times the same
        return [write(f"{number * PRIME:0100}") for number in range(1, MANY)]
    if name == "complex":
        # The hash of a complex number is that of its parts, the second one taken so often.
        return [f"{2**52 - 1_000_003 * number}{number:+}j" for number in range(1, MANY)]
    return [write(number) for number in INTS[1:]]


@pytest.mark.parametrize("name", WRITTEN)
def test_a_number_is_seen_however_it_is_written(name: str) -> None:
    items = alike(name)
    kind = WRITTEN[name][0]

    with pytest.raises(PayloadCorruptedError, match="the same hash"):
        Payloads().typed(kind).read(items, None, queue="orders")
    assert len(Payloads().typed(kind).read(items[:50], None, queue="orders")) == 50


@pytest.mark.parametrize("key", [" {}", "{}.0", "{:_}", "+{}"])
def test_a_key_is_seen_however_it_is_written(key: str) -> None:
    counts = {key.format(number): 0 for number in INTS}

    with pytest.raises(PayloadCorruptedError, match="the same hash"):
        Payloads().typed(dict[int, int]).read(counts, None, queue="orders")


def test_tuples_that_have_one_hash_by_other_numbers_are_seen() -> None:
    pairs = tuples_of_one_hash(200)
    assert len({hash(tuple(pair)) for pair in pairs}) == 1
    row = {"pairs": pairs, "more": "x" * 20_000}

    with pytest.raises(PayloadCorruptedError, match="the same hash"):
        Payloads().typed(Pairs).read(row, None, queue="orders")


def test_frozensets_that_have_one_hash_by_other_numbers_are_seen() -> None:
    pairs = frozensets_of_one_hash(200)
    assert len({hash(frozenset(pair)) for pair in pairs}) == 1
    row = [*pairs, list(range(5_000))]

    with pytest.raises(PayloadCorruptedError, match="the same hash"):
        Payloads().typed(set[frozenset[int]]).read(row, None, queue="orders")


@dataclass(frozen=True)
class Point:
    x: int
    y: int


def test_a_set_of_frozen_objects_may_be_of_one_hash() -> None:
    points = [{"x": x, "y": y, "more": "x" * 100} for x, y in tuples_of_one_hash(200)]

    read = Payloads().typed(set[Point]).read(points, None, queue="orders")

    assert len(read) == 200
    assert len(set(map(hash, read))) == 1


def frozensets_of_one_hash(count: int) -> list[list[int]]:
    """Return pairs of which the second is chosen after the first, as CPython mixes the two."""
    bits, factor, constant, first = 2**64, 3644798167, 89869747, 1
    pairs: list[list[int]] = []
    while len(pairs) < count:
        mixed = (first ^ constant ^ first << 16) * factor % bits ^ 1234567890123456789
        mixed = mixed * pow(factor, -1, bits) % bits ^ constant
        second = (mixed ^ mixed << 16 ^ mixed << 32 ^ mixed << 48) % bits
        if second < PRIME:
            pairs.append([first, second])
        first += 1
    return pairs


@dataclass
class Pairs:
    pairs: set[tuple[int, int]]
    more: str


def tuples_of_one_hash(count: int) -> list[list[int]]:
    """Return pairs of which the second is chosen after the first, as CPython mixes the two."""
    one, two, five = 11400714785074694791, 14029467366897019727, 2870177450012600261
    bits, first, wanted = 2**64, 1, 1234567890123456789
    pairs: list[list[int]] = []

    def rotated(number: int, by: int) -> int:
        return (number << by | number >> (64 - by)) % bits

    while len(pairs) < count:
        begun = rotated((five + first * two) % bits, 31) * one % bits
        mixed = (wanted - (2 ^ five ^ 3527539)) % bits
        second = (
            (rotated(mixed * pow(one, -1, bits) % bits, 33) - begun) * pow(two, -1, bits) % bits
        )
        if second < PRIME:
            pairs.append([first, second])
        first += 1
    return pairs


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (list[list[int]], [[-1 - (row >> bit & 1) for bit in range(12)] for row in range(2_000)]),
        (list[list[float]], [[0, 0.0, 0][row % 3 :] for row in range(9_000)]),
        (set[tuple[int, int]], [[row, -1] for row in range(9_000)]),
        (list[str], ["12", "+12", "key 12", "1/2", "1e5", "--", "0x1"] * 2_000),
        (list[dict[str, float]], [{"price": 0.0, "count": row % 3} for row in range(2_000)]),
        (set[UUID], [str(UUID(int=row)) for row in range(2_000)]),
        (set[frozenset[int]], [[row, row + 1] for row in range(3_000)]),
    ],
)
def test_a_type_of_ones_own_takes_what_nobody_chose(kind: Any, value: Any) -> None:
    read = Payloads().typed(kind).read(value, None, queue="orders")

    assert len(read) == len(value)


def test_a_type_of_ones_own_takes_many_numbers() -> None:
    numbers = Numbers(
        set(range(10_000)), {UUID(int=n) for n in range(999)}, set(), {n: n for n in range(999)}
    )
    typed = Payloads().typed(Numbers)

    (prepared,) = typed.prepare([numbers], "orders")

    assert typed.read(prepared.stored, prepared.codec, queue="orders") == numbers
