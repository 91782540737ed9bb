"""The codec of JSON with tags: exact both ways, and hostile text makes no more than an error."""

from __future__ import annotations

import collections
import io
import json
import math
import subprocess
import sys
from dataclasses import InitVar, dataclass, field, fields, is_dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal, localcontext
from enum import Enum, Flag, StrEnum, auto
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from sqlalchemy import text

from tests.fuzz import decoders
from xclaim import create_engine
from xclaim.errors import (
    InvalidArgumentError,
    PayloadCorruptedError,
    PayloadError,
    PayloadReadError,
    PayloadRefusedError,
    XclaimError,
)
from xclaim.payloads.codecs.typed_json import TypedJson
from xclaim.payloads.plain_json import MAX_DEPTH

BERLIN = ZoneInfo("Europe/Berlin")
HUGE = 7**20_000


@dataclass
class Line:
    item: str
    price: Decimal


@dataclass(frozen=True, slots=True)
class Order:
    id: int
    lines: list[Line]
    ordered_at: datetime
    note: str | None = None
    tags: list[str] = field(default_factory=lambda: ["new"])


@dataclass
class Doubled:
    number: int
    factor: InitVar[int]
    result: int = field(init=False)
    later: int = field(init=False)

    def __post_init__(self, factor: int) -> None:
        self.result = self.number * factor
        self.number = -self.number


@dataclass(frozen=True)
class Point:
    at: tuple[int, int]


@dataclass
class Counted(dict[str, int]):
    total: int


class Color(Enum):
    RED = 1
    GREEN = object()


class Size(StrEnum):
    LARGE = "large"


class Access(Flag):
    READ = auto()
    WRITE = auto()


class Place(NamedTuple):
    x: int
    y: int


HERE = (Line, Order, Doubled, Point, Color, Size, Access)


def there_and_back(value: Any, allowed: tuple[type | str, ...] = HERE) -> Any:
    codec, file = TypedJson(allowed), io.BytesIO()
    codec.encode(value, file)
    file.seek(0)
    decoded = codec.decode(file)
    assert is_exactly(decoded, codec.from_json(as_jsonb(codec.to_json(value))))
    return decoded


def as_jsonb(tagged: Any) -> Any:
    """Return the JSON as jsonb hands it back: its numbers are decimals without an exponent."""
    text = json.dumps(tagged, allow_nan=False, ensure_ascii=False)
    assert "\\u0000" not in text.replace("\\\\", "")
    assert text.encode()
    return json.loads(text, parse_float=lambda number: float(format(Decimal(number) + 0, "f")))


def is_exactly(one: Any, other: Any) -> bool:  # noqa: PLR0911 - a case for each type
    if type(one) is not type(other):
        return False
    if isinstance(one, float | Decimal):
        return repr(one) == repr(other)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(is_exactly, one, other))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(is_exactly(one[key], other[key]) for key in one)
    if isinstance(one, datetime | time):
        zones = (one.tzinfo, other.tzinfo)
        naive = (one.replace(tzinfo=None), other.replace(tzinfo=None))
        return naive[0] == naive[1] and one.fold == other.fold and repr(zones[0]) == repr(zones[1])
    if is_dataclass(one):
        return is_exactly(fields_of(one), fields_of(other))
    return bool(one == other)


def fields_of(value: Any) -> dict[str, Any]:
    names = [field.name for field in fields(value)]
    return {name: getattr(value, name) for name in names if hasattr(value, name)}


ZONES = some.none() | some.timezones() | some.builds(
    timezone, some.timedeltas(timedelta(hours=-23), timedelta(hours=23))
) | some.builds(
    timezone,
    some.timedeltas(timedelta(hours=-23), timedelta(hours=23)),
    some.sampled_from(["CET", "", "UTC", "\u00e9", "\x00", "\ud800"]),
)  # fmt: skip
TEXTS = some.text(some.characters()) | some.sampled_from(["$", "\x00", "\ud800", "\ud83d\ude00"])
ATOMS = (
    some.none()
    | some.booleans()
    | some.integers()
    | some.sampled_from([2**63, -0.0, 1e22, 1e-7, 5e-324])
    | some.floats(allow_nan=False)
    | TEXTS
    | some.binary()
    | some.decimals(allow_nan=False)
    | some.uuids()
    | some.dates()
    | some.timedeltas()
    | some.datetimes(timezones=ZONES, allow_imaginary=True)
    | some.times(timezones=ZONES)
    | some.complex_numbers(allow_nan=False)
    | some.sampled_from([*Color, *Size, *Access, BERLIN, UTC, Access.READ | Access.WRITE])
)
KEYS = some.recursive(
    ATOMS,
    lambda inner: some.frozensets(inner, max_size=3) | some.tuples(inner, inner),
    max_leaves=4,
)
VALUES = some.recursive(
    ATOMS | some.binary().map(bytearray) | some.sets(KEYS, max_size=3),
    lambda inner: (
        some.lists(inner, max_size=4)
        | some.dictionaries(TEXTS, inner, max_size=4)
        | some.dictionaries(KEYS, inner, max_size=3)
        | some.builds(Line, inner, inner)
    ),
    max_leaves=12,
)


@settings(max_examples=500)
@given(value=VALUES)
def test_every_value_comes_back_as_it_was(value: Any) -> None:
    assert is_exactly(value, there_and_back(value))


def test_jsonb_hands_back_what_it_got(postgresql_url: str) -> None:
    engine = create_engine(postgresql_url)
    codec = TypedJson(HERE)
    with engine.connect() as connection:

        @settings(max_examples=300)
        @given(value=VALUES)
        def store(value: Any) -> None:
            tagged = json.dumps(codec.to_json(value), ensure_ascii=False)
            stored = connection.scalar(text("SELECT CAST(:tagged AS jsonb)"), {"tagged": tagged})
            assert is_exactly(value, codec.from_json(stored))

        store()
    engine.dispose()


@pytest.mark.parametrize(
    "value",
    [
        math.inf, -math.inf, math.nan, -0.0, 1e16, 1e22, 1e-7, 1.7976931348623157e308, 5e-324,
        Decimal("1.10"), Decimal("-0"), Decimal("NaN123"), Decimal("sNaN"), Decimal("-Infinity"),
        Decimal("1E+999999"), HUGE, -HUGE, 10**4_299, 2**8_192, -(2**8_192),
        datetime(2026, 10, 25, 2, 30, tzinfo=BERLIN, fold=1),
        datetime(2026, 10, 25, 2, 30, fold=1),  # noqa: DTZ001
        datetime.max, datetime.min,  # noqa: DTZ901
        datetime(2026, 1, 1, tzinfo=timezone(timedelta(microseconds=1))),
        time(12, tzinfo=BERLIN), time(12, tzinfo=UTC, fold=1), date.min,
        timedelta.min, timedelta.max,
        timezone(timedelta(hours=1), "CET"), BERLIN, UUID(int=0), b"\x00\xff", bytearray(b"\xff"),
        complex(-0.0, math.inf), set(), frozenset(), {frozenset({frozenset({(1, (2, b"3"))})})},
        {1: "a", None: "b", (1, 2): "c", b"d": "e", 1.5: "f"}, {"$": 1}, {"$": "date", "value": 1},
        {"a": {"$": {"$": "dict"}}}, {"\x00": 1}, {"\ud800": 1}, "\ud83d\ude00", {"": ""}, [],
        {HUGE: 1}, Color.GREEN, Size.LARGE, Access.READ | Access.WRITE, Access(0), {Point((1, 2))},
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_the_corners_come_back_as_they_were(value: Any) -> None:
    assert is_exactly(value, there_and_back(value))


def test_a_dataclass_comes_back_with_all_that_is_in_it() -> None:
    order = Order(1, [Line("cup", Decimal("1.10"))], datetime(2026, 1, 1, tzinfo=BERLIN))

    read = there_and_back([order])[0]

    assert read == order
    assert type(read.lines[0]) is Line


def test_a_dataclass_is_read_without_running_its_code() -> None:
    doubled = Doubled(21, 2)

    read = there_and_back(doubled)

    assert vars(read) == vars(doubled) == {"number": -21, "result": 42}


def test_a_tuple_becomes_a_list_as_in_plain_json() -> None:
    assert there_and_back({"at": (1, (2, 3)), "place": Place(1, 2)}) == {
        "at": [1, [2, 3]],
        "place": [1, 2],
    }


def test_a_subclass_of_what_json_has_is_plain_json() -> None:
    value = {
        "size": Size.LARGE,
        "count": collections.Counter("aa"),
        "all": collections.OrderedDict(),
    }

    assert there_and_back(value, ()) == {"size": "large", "count": {"a": 2}, "all": {}}
    assert type(there_and_back(Size.LARGE, ())) is str


def test_plain_json_is_left_as_it_is() -> None:
    value = {"id": 1, "list": [1.5, None, True, "\u00e9"], "empty": {}}

    assert TypedJson().to_json(value) == value


def test_a_tag_is_readable_in_sql() -> None:
    value = {"total": Decimal("1.10"), "at": datetime(2026, 1, 1, tzinfo=UTC)}

    assert TypedJson().to_json(value) == {
        "total": {"$": "decimal", "value": "1.10"},
        "at": {"$": "datetime", "value": "2026-01-01T00:00:00+00:00"},
    }


def test_equal_values_are_equal_bytes() -> None:
    one, other = io.BytesIO(), io.BytesIO()

    TypedJson().encode({"b": {3, 1, 2}, "a": {(1,): 1, (0,): 2}}, one)
    TypedJson().encode({"a": {(0,): 2, (1,): 1}, "b": {2, 3, 1}}, other)

    assert one.getvalue() == other.getvalue()


def test_a_decimal_is_not_rounded_by_the_context_of_the_reader() -> None:
    value = Decimal("1.2345678901234567890123456789")
    with localcontext() as context:
        context.prec = 3

        assert str(there_and_back(value)) == str(value)


# ------------------------------------------------------------------------------------- refusals


class Subclass(datetime):
    pass


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"a": [1, object()]}, r"payload\.a\[1\] is of type builtins\.object"),
        ({1: {"b": io.BytesIO()}}, r"payload\[1\]\.b is of type _io\.BytesIO"),
        ({"a": Subclass(2026, 1, 1)}, r"payload\.a is of type .*Subclass, .*: convert it"),
        ([Path("a")], r"payload\[0\] is of type pathlib"),
        ([range(2)], "range"),
        ([memoryview(b"")], "memoryview"),
        ([Order], r"builtins\.type"),
        ({HUGE: object()}, r"payload\[int\] is of type"),
        (Order(1, [], datetime(2026, 1, 1)), r"allow=\[Order\]"),  # noqa: DTZ001
        ({"a": Color.RED}, r"payload\.a .*:Color, which is not allowed.*allow=\[Color\]"),
        ({Line("a", Decimal(1)).item: [Line("a", Decimal(1))]}, r"payload\.a\[0\].*allow=\[Line\]"),
    ],
)
def test_what_cannot_be_stored_is_refused_with_its_place(value: Any, said: str) -> None:
    with pytest.raises(PayloadError, match=said):
        TypedJson().to_json(value)


def test_a_dataclass_that_makes_its_instances_itself_is_refused() -> None:
    with pytest.raises(PayloadError, match="makes its instances itself"):
        TypedJson([Counted]).to_json(Counted(1))


def nested(depth: int, wrap: Any) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = wrap(value)
    return value


WRAPS = [
    lambda value: [value],
    lambda value: {"a": value},
    lambda value: {1: value},
    lambda value: frozenset({value}),
    lambda value: frozenset({(value,)}),
    lambda value: Line("a", value),
]


@pytest.mark.parametrize("wrap", WRAPS)
def test_what_may_be_pushed_so_deep_can_be_read(wrap: Any) -> None:
    value = nested(MAX_DEPTH // 2, wrap)

    assert there_and_back(value) == value


@pytest.mark.parametrize("wrap", WRAPS)
@pytest.mark.parametrize("depth", [MAX_DEPTH + 1, 400])
def test_what_is_too_deep_is_refused(wrap: Any, depth: int) -> None:
    with pytest.raises(PayloadError, match="deeper than 100 levels: flatten it"):
        TypedJson(HERE).to_json(nested(depth, wrap))


@dataclass
class Nothing:
    pass


@pytest.mark.parametrize("empty", [[], (), {}, set(), frozenset(), Nothing(), {1: 2}, {"$": 1}])
def test_an_empty_container_is_a_level_too(empty: Any) -> None:
    codec = TypedJson([Nothing])

    codec.to_json(deep(MAX_DEPTH - 1, empty))
    with pytest.raises(PayloadError, match="deeper than 100 levels: flatten it"):
        codec.to_json(deep(MAX_DEPTH, empty))


@pytest.mark.parametrize("part", [UTC, timezone(timedelta(0), "x"), 1j, timedelta(1), Color.RED])
def test_what_may_be_pushed_at_the_bottom_can_be_read(part: Any) -> None:
    deepest = 0
    for depth in range(MAX_DEPTH - 3, MAX_DEPTH + 2):
        try:
            tagged = TypedJson(HERE).to_json(
                nested(depth, lambda value: [value])[:0] or deep(depth, part)
            )
        except PayloadError:
            continue
        TypedJson(HERE).from_json(tagged)
        deepest = depth
    assert deepest >= MAX_DEPTH - 1


def deep(depth: int, part: Any) -> Any:
    for _ in range(depth):
        part = [part]
    return part


def test_a_cycle_is_refused() -> None:
    value: list[Any] = []
    value.append(value)

    with pytest.raises(PayloadError, match="contain a cycle"):
        TypedJson().to_json(value)


# -------------------------------------------------------------------------------- hostile input

WRONG: list[dict[str, Any]] = [
    {"$": "nonsense", "value": 1}, {"$": 1, "value": 1}, {"$": None, "value": 1}, {"$": ["date"]},
    {"$": "date"}, {"$": "date", "value": 1}, {"$": "date", "value": "2026-13-01"},
    {"$": "datetime", "value": "x"}, {"$": "datetime", "value": "2026-01-01", "fold": 2},
    {"$": "datetime", "value": "2026-01-01", "fold": "1"},
    {"$": "datetime", "value": "2026-01-01", "zone": "Europe/Berlin"},
    {"$": "time", "value": "25:00"}, {"$": "timedelta", "value": [1, 2]},
    {"$": "timedelta", "value": [10**30, 0, 0]}, {"$": "timedelta", "value": [1.5, 0, 0]},
    {"$": "timedelta", "value": 5},
    {"$": "timezone", "value": [{"$": "timedelta", "value": [9, 0, 0]}]},
    {"$": "timezone", "value": []}, {"$": "timezone", "value": [1]},
    {"$": "zone", "value": "../etc"},
    {"$": "zone", "value": "/etc/localtime"}, {"$": "zone", "value": "a.b"},
    {"$": "zone", "value": ""},
    {"$": "zone", "value": "a\x00b"}, {"$": "zone", "value": 1}, {"$": "decimal", "value": "x"},
    {"$": "decimal", "value": 1}, {"$": "decimal", "value": "1e99999999999999999999"},
    {"$": "uuid", "value": "x"}, {"$": "uuid", "value": 1}, {"$": "bytes", "value": "\u00e9"},
    {"$": "bytes", "value": "a"}, {"$": "bytes", "value": [1]}, {"$": "bytearray", "value": "?"},
    {"$": "text", "value": "/w=="}, {"$": "text", "value": 5}, {"$": "int", "value": "x"},
    {"$": "int", "value": 10**30}, {"$": "float", "value": "x"}, {"$": "float", "value": [1]},
    {"$": "complex", "value": [1.0]}, {"$": "complex", "value": ["1", "2"]}, {"$": "complex"},
    {"$": "set", "value": [[1]]}, {"$": "set", "value": {"a": 1}}, {"$": "set", "value": "ab"},
    {"$": "frozenset", "value": [{}]}, {"$": "tuple", "value": 1}, {"$": "dict", "value": {"a": 1}},
    {"$": "dict", "value": [[1]]}, {"$": "dict", "value": [[[1], 1]]}, {"$": "dict", "value": [1]},
    {"$": "dataclass", "value": {}}, {"$": "dataclass", "value": {}, "type": 1},
    {"$": "enum", "value": "RED"}, {"$": "enum", "value": "RED", "type": ["a"]},
]  # fmt: skip


@pytest.mark.parametrize("tagged", WRONG, ids=json.dumps)
def test_a_tag_of_the_wrong_shape_is_corrupt(tagged: Any) -> None:
    with pytest.raises(PayloadCorruptedError, match="cannot be decoded"):
        TypedJson(HERE).from_json({"a": [tagged]})


def name(kind: type) -> str:
    return f"{kind.__module__}:{kind.__qualname__}"


@pytest.mark.parametrize(
    "tagged",
    [
        {"$": "dataclass", "type": name(Line), "value": {"item": "a", "price": 1, "more": 1}},
        {"$": "dataclass", "type": name(Line), "value": {"item": "a"}},
        {"$": "dataclass", "type": name(Line), "value": {"__class__": 1}},
        {"$": "dataclass", "type": name(Line), "value": [1, 2]},
        {"$": "dataclass", "type": name(Color), "value": {}},
        {"$": "enum", "type": name(Line), "value": "RED"},
        {"$": "enum", "type": name(Color), "value": "BLUE"},
        {"$": "enum", "type": name(Color), "value": "__class__"},
        {"$": "enum", "type": name(Color), "value": [1]},
        {"$": "enum", "type": name(Access), "value": 4096},
        {"$": "enum", "type": name(Access), "value": "READ"},
    ],
    ids=json.dumps,
)
def test_an_allowed_type_of_the_wrong_shape_is_corrupt(tagged: Any) -> None:
    with pytest.raises(PayloadCorruptedError):
        TypedJson(HERE).from_json(tagged)


def test_a_field_that_the_class_got_later_has_its_default() -> None:
    tagged = TypedJson(HERE).to_json(Order(1, [], datetime(2026, 1, 1, tzinfo=UTC)))
    del tagged["value"]["note"], tagged["value"]["tags"]

    read = TypedJson(HERE).from_json(tagged)

    assert (read.note, read.tags) == (None, ["new"])


@pytest.mark.parametrize(
    "text",
    [
        b"", b"{", b"nonsense", b"\xff\xfe", b"NaN", b"[Infinity]", b"[" * 100_000,
        b'{"a":' * 100_000, b"[" * 500 + b"]" * 500, b"1" * 5_000, b'{"$":"int","value":"zz"}',
        b'{"$":"set","value":[' * 300 + b"]}" * 300,
    ],
    ids=lambda text: str(text[:20]),
)  # fmt: skip
def test_text_that_is_not_of_this_codec_is_corrupt(text: bytes) -> None:
    with pytest.raises(PayloadCorruptedError):
        TypedJson().decode(io.BytesIO(text))


def test_a_deep_json_value_of_a_row_is_corrupt() -> None:
    for depth in (MAX_DEPTH + 2, 5_000):
        with pytest.raises(PayloadCorruptedError, match="deep"):
            TypedJson().from_json(deep(depth, 1))


def test_a_zone_that_is_unknown_here_is_no_corruption() -> None:
    with pytest.raises(PayloadReadError, match="pip install tzdata") as raised:
        TypedJson().from_json({"$": "zone", "value": "Mars/Olympus"})

    assert not isinstance(raised.value, PayloadCorruptedError)


def fixed(tag: dict[str, Any], optional: dict[str, Any]) -> some.SearchStrategy[Any]:
    return some.fixed_dictionaries(tag, optional=optional)


JSON: some.SearchStrategy[Any] = some.recursive(
    some.none() | some.booleans() | some.integers() | some.floats(allow_nan=False) | some.text(),
    lambda inner: (
        some.lists(inner, max_size=3)
        | some.dictionaries(some.text(), inner, max_size=3)
        | some.fixed_dictionaries(
            {
                "$": some.sampled_from(
                    sorted({tag["$"] for tag in WRONG if isinstance(tag["$"], str)})
                )
            },
            optional={
                "value": inner,
                "type": some.sampled_from([name(kind) for kind in HERE]) | some.text(),
                "fold": inner,
                "zone": inner,
            },
        )
    ),
    max_leaves=10,
)


@settings(max_examples=1_000)
@given(tagged=JSON)
def test_any_json_is_a_value_or_an_error_of_ours(tagged: Any) -> None:
    try:
        value = TypedJson(HERE).from_json(tagged)
    except PayloadReadError:
        return
    TypedJson(HERE).to_json(value)


@settings(max_examples=300)
@given(data=some.binary(max_size=200) | JSON.map(decoders.as_json))
def test_the_fuzzed_decoder_holds(data: bytes) -> None:
    decoders.typed_json(data)


# ------------------------------------------------------------------------------------ allow list


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """Write a package whose modules say that they were imported."""
    package = tmp_path / "shop"
    package.mkdir()
    code = (
        "import sys\nfrom dataclasses import dataclass\nfrom enum import Enum\n"
        "from decimal import Decimal\nfrom xclaim.message import Message\n"
        "@dataclass\nclass Order:\n    id: int\n"
        "    @dataclass\n    class Line:\n        item: str\n"
        "class Kind(Enum):\n    A = 1\n"
        "class Bare:\n    pass\n"
    )
    for module in ("__init__", "orders", "bills", "__main__"):
        (package / f"{module}.py").write_text(code)
    (tmp_path / "shopping.py").write_text(code)
    return tmp_path


def decoded_by(path: Path, allowed: list[str], named: str) -> dict[str, Any]:
    """Return what a new process made of the payload, and what it has imported of the shop."""
    code = (
        "import json, sys; sys.path.insert(0, sys.argv[1])\n"
        "from xclaim.payloads.codecs.typed_json import TypedJson\n"
        "from xclaim.errors import XclaimError\n"
        "named = sys.argv[3]\n"
        "before = set(sys.modules)\n"
        "try:\n"
        "    read = TypedJson(json.loads(sys.argv[2])).from_json("
        "{'$': 'dataclass', 'type': named, 'value': {'id': 1}})\n"
        "    made = f'{type(read).__module__}:{type(read).__qualname__}'\n"
        "except XclaimError as error:\n"
        "    made = type(error).__name__\n"
        "print(json.dumps([made, sorted(set(sys.modules) - before)]))\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, str(path), json.dumps(allowed), named],
        capture_output=True,
        text=True,
        check=True,
    )
    made, imported = json.loads(result.stdout)
    return {"made": made, "imported": imported}


@pytest.mark.parametrize(
    "named", ["shop.orders:Order", "shop:Order", "antigravity:x", "this:Order"]
)
@pytest.mark.parametrize(
    "allowed", [[], ["shop.bills:*"], ["shop.orders:Bill"], ["shopping:Order"]]
)
def test_a_module_that_is_not_allowed_is_not_imported(
    shop: Path, allowed: list[str], named: str
) -> None:
    assert decoded_by(shop, allowed, named) == {"made": "PayloadRefusedError", "imported": []}


@pytest.mark.parametrize("allowed", ["shop.orders:Order", "shop.orders:*", "shop.*"])
def test_a_pattern_allows_what_it_says(shop: Path, allowed: str) -> None:
    decoded = decoded_by(shop, [allowed], "shop.orders:Order")

    assert decoded["made"] == "shop.orders:Order"
    assert "shop.bills" not in decoded["imported"]


@pytest.mark.parametrize(
    ("allowed", "named"),
    [
        ("shop.*", "shopping:Order"),
        ("shop.*", "shop.__main__:Order"),
        ("shop:*", "shop.orders:Order"),
        ("shop.*", "shop.orders:"),
        ("shop.*", "shop.orders"),
        ("shop.*", "shop..orders:Order"),
        ("shop.*", ".orders:Order"),
        ("shop.*", "shop.orders:Order\n"),
        ("shop.*", "shop./etc:Order"),
        ("shop.orders:Order", "shop.orders:Order.Line"),
    ],
)
def test_a_pattern_allows_no_more_than_it_says(shop: Path, allowed: str, named: str) -> None:
    assert decoded_by(shop, [allowed], named) == {"made": "PayloadRefusedError", "imported": []}


@pytest.mark.parametrize(
    "named",
    [
        "shop.orders:Decimal",  # imported there from elsewhere, and no dataclass
        "shop.orders:Message",  # the same, and a dataclass
        "shop.orders:sys.path",
        "shop.orders:Order.__init__",
        "shop.orders:Bare",
        "shop.orders:Missing",
        "shop.missing:Order",
    ],
)
def test_only_a_class_of_the_module_itself_is_made(shop: Path, named: str) -> None:
    assert decoded_by(shop, ["shop.*"], named)["made"] == "PayloadRefusedError"


def test_a_nested_class_is_found(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(shop)
    tagged = {"$": "dataclass", "type": "shop.orders:Order.Line", "value": {"item": "cup"}}

    read = TypedJson(["shop.*"]).from_json(tagged)

    assert read.item == "cup"
    assert TypedJson(["shop.*"]).to_json(read) == tagged


def test_a_class_that_is_allowed_itself_need_not_be_importable() -> None:
    @dataclass
    class Local:
        id: int

    assert there_and_back(Local(1), (Local,)) == Local(1)
    with pytest.raises(PayloadError, match="not allowed"):
        TypedJson([f"{__name__}:*"]).to_json(Local(1))


def test_another_class_of_the_same_name_is_not_allowed() -> None:
    def make() -> type:
        @dataclass
        class Local:
            id: int

        return Local

    with pytest.raises(PayloadError, match="not allowed"):
        TypedJson([make()]).to_json(make()(1))


def test_a_refused_type_is_named_with_the_way_out() -> None:
    tagged = TypedJson(HERE).to_json(Line("a", Decimal(1)))

    with pytest.raises(
        PayloadRefusedError, match=r"test_typed_json:Line.*Payloads\(allow=\[Line\]\)"
    ):
        TypedJson().from_json(tagged)


@pytest.mark.parametrize(
    "allow",
    ["*", "shop", "shop*", "shop.*:Order", ":Order", "shop.", "", "a b:C", int, Path, 5, None],
)
def test_what_cannot_be_allowed_is_refused(allow: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="allow has"):
        TypedJson([allow])


def test_allow_is_a_list() -> None:
    wrong: Any = Order
    with pytest.raises(InvalidArgumentError, match="must be a list"):
        TypedJson(wrong)


def test_it_accepts_what_it_knows_and_leaves_the_rest_to_others() -> None:
    codec = TypedJson()

    assert all(
        map(codec.accepts, [None, 1, "a", {}, (), {1}, Line("a", Decimal(1)), Color.RED, UTC])
    )
    assert not any(map(codec.accepts, [b"", bytearray(), object(), io.BytesIO(), Order, range(2)]))


def test_a_refusal_is_an_error_of_ours_and_a_value_error() -> None:
    assert issubclass(PayloadError, XclaimError | ValueError)
