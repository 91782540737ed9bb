"""Values of declared types: plain JSON in between, exact, and errors that name the place."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, NotRequired
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from pydantic import BaseModel, ConfigDict, Field, field_serializer
from typing_extensions import TypedDict

from xclaim import Payloads
from xclaim.errors import InvalidArgumentError, PayloadCorruptedError, PayloadError
from xclaim.payloads.codecs.models import Model
from xclaim.payloads.plain_json import encode

KEY = UUID(int=7)


class Color(Enum):
    RED = "red"


@dataclass
class Line:
    item: str
    price: Decimal
    photo: bytes = b""


@dataclass(frozen=True)
class Order:
    id: int
    lines: list[Line] = field(default_factory=list)
    ordered_at: datetime = datetime(2026, 1, 1, tzinfo=UTC)
    due: date | None = None
    opens: time = time(8, 30)
    takes: timedelta = timedelta(days=1, microseconds=3)
    key: UUID = KEY
    color: Color = Color.RED
    weight: float = 1.5
    tags: frozenset[str] = frozenset()
    at: tuple[int, str] = (1, "a")
    names: dict[int, bytes] = field(default_factory=dict)


class Customer(BaseModel):
    name: Annotated[str, Field(min_length=1)]
    friends: list[Customer] = []
    since: datetime | None = None
    balance: Decimal = Decimal(0)
    photo: bytes = b""


class Shipment(TypedDict):
    order: Order
    customer: Customer
    label: bytes
    note: NotRequired[str]


def there_and_back(kind: Any, value: Any) -> Any:
    model: Model[Any] = Model(kind)
    encoded = encode(model.to_json(value))  # which refuses all that is not plain JSON
    return model.from_json(json.loads(encoded.text))


ORDER = Order(
    1,
    [Line("cup", Decimal("1.10"), b"\x00\xff"), Line("\u00e9", Decimal("-0.000"))],
    due=date(2026, 2, 3),
    tags=frozenset({"a", "b"}),
    names={1: b"\xfe"},
)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (Order, ORDER),
        (Customer, Customer(name="a", friends=[Customer(name="b", balance=Decimal("1.10"))])),
        (Shipment, {"order": ORDER, "customer": Customer(name="a"), "label": b"\xff"}),
        (Shipment, {"order": ORDER, "customer": Customer(name="a"), "label": b"", "note": "n"}),
        (list[Order], [ORDER, ORDER]),
        (dict[str, Line], {"a": Line("cup", Decimal(1))}),
        (Order | Line, Line("cup", Decimal(1))),
        (int | None, None),
        (datetime | str, datetime(2026, 1, 1, tzinfo=UTC)),
        (datetime | str, "2026-01-01"),
        (Decimal, Decimal("1.10")),
        (bytes, bytes(range(256))),
    ],
)
def test_a_value_comes_back_as_it_was(kind: Any, value: Any) -> None:
    read = there_and_back(kind, value)

    assert read == value
    assert type(read) is type(value)


OFFSETS = some.integers(-1_000, 1_000).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@settings(max_examples=200)
@given(
    price=some.decimals(allow_nan=False, allow_infinity=False),
    photo=some.binary(),
    at=some.datetimes(datetime(2, 1, 1), datetime(9998, 1, 1), timezones=OFFSETS),  # noqa: DTZ001
    takes=some.timedeltas(timedelta(days=-9_999), timedelta(days=9_999)),
    weight=some.floats(),
)
def test_what_json_lacks_is_exact(
    price: Decimal, photo: bytes, at: datetime, takes: timedelta, weight: float
) -> None:
    value = Order(1, [Line("a", price, photo)], ordered_at=at, takes=takes, weight=weight)

    read = there_and_back(Order, value)

    assert str(read.lines[0].price) == str(price)
    assert (read.lines[0].photo, read.takes) == (photo, takes)
    assert read.ordered_at.astimezone(UTC) == at.astimezone(UTC)
    assert repr(read.weight) == repr(weight)


def test_it_is_readable_in_sql() -> None:
    assert Model(Line).to_json(Line("cup", Decimal("1.10"), b"hi")) == {
        "item": "cup",
        "price": "1.10",
        "photo": "aGk=",
    }


@pytest.mark.parametrize(
    ("kind", "value", "said"),
    [
        (Order, Order("5"), r"payload\.id: "),  # type: ignore[arg-type]
        (Order, Order(1, [Line("a", 1.5), Line(2, Decimal(1))]), r"payload\.lines\[1\]\.item: "),  # type: ignore[arg-type]
        (Order, {"id": 1}, "payload is not a Order"),
        (Order, None, "payload is not a Order"),
        (Order, object(), "payload is not a Order"),
        (Customer, ORDER, "payload is not a Customer"),
        (Customer, Customer.model_construct(name=5), r"payload\.name: "),
        (Customer, Customer.model_construct(name=""), r"payload\.name: .*at least 1"),
        (Shipment, {"order": ORDER}, r"payload\.customer: Field required"),
        (list[int], [1, "a"], r"payload\[1\]"),
    ],
)
def test_what_is_not_of_the_type_is_refused_with_its_place(
    kind: Any, value: Any, said: str
) -> None:
    with pytest.raises(PayloadError, match=said):
        Model(kind).to_json(value)


@dataclass
class Counter:
    number: int


@pytest.mark.parametrize(
    ("kind", "value"),
    [(int, 10**5000), (list[int], [1, -(10**5000)]), (Counter, Counter(10**5000))],
    ids=["int", "list", "dataclass"],
)
def test_a_number_of_more_digits_than_python_reads_is_refused_with_its_place(
    kind: Any, value: Any
) -> None:
    typed = Payloads().typed(kind)

    with pytest.raises(PayloadError, match=r"^payload is not a .*number out of range"):
        typed.prepare([value], "orders")
    with pytest.raises(PayloadError, match=r"^payload 1: .*number out of range"):
        Payloads().typed(kind | None).prepare([None, value], "orders")


@dataclass(frozen=True)
class Express(Order):
    hours: int = 1


class Lossy(BaseModel):
    at: datetime | str

    @field_serializer("at")
    def short(self, value: Any) -> str:
        return str(value)[:10]


class Half(BaseModel):
    model_config = ConfigDict(ser_json_bytes="base64")
    photo: bytes


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (Order, Express(1)),
        (Lossy, Lossy(at=datetime(2026, 1, 1, tzinfo=UTC))),
        (Half, Half(photo=b"ab")),
        (Shipment, {"order": ORDER, "customer": Customer(name="a"), "label": b"", "more": 1}),
    ],
)
def test_what_would_come_back_as_another_value_is_refused(kind: Any, value: Any) -> None:
    with pytest.raises(PayloadError, match=r"would not come back|is not a"):
        Model(kind).to_json(value)


def test_bytes_of_a_model_are_as_its_configuration_says() -> None:
    class Photo(BaseModel):
        model_config = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")
        content: bytes

    assert there_and_back(Photo, Photo(content=b"\xff")) == Photo(content=b"\xff")
    with pytest.raises(PayloadError, match="utf-8"):
        Model(Customer).to_json(Customer(name="a", photo=b"\xff"))


def test_a_cycle_is_refused() -> None:
    customer = Customer(name="a")
    customer.friends.append(customer)

    with pytest.raises(PayloadError, match="is not a Customer"):
        Model(Customer).to_json(customer)


@pytest.mark.parametrize(
    ("stored", "said"),
    [
        ({"id": "x"}, r"payload is not a Order: payload\.id: Input should be a valid integer"),
        ({"id": 1, "lines": [{"item": "a"}]}, r"payload\.lines\[0\]\.price: Field required"),
        ({"id": 1, "ordered_at": "never"}, r"payload\.ordered_at"),
        ({"id": 1, "names": {"1": "no base64!"}}, r"payload\.names\.1: "),
        ([], "payload is not a Order: payload: "),
        (None, "payload is not a Order"),
        (float("nan"), "payload is not a Order"),
        ({}, r"payload\.id: Field required"),
    ],
)
def test_what_is_stored_and_not_of_the_type_is_corrupt(stored: Any, said: str) -> None:
    with pytest.raises(PayloadCorruptedError, match=said):
        Model(Order).from_json(stored)


def test_the_error_does_not_print_the_payload() -> None:
    with pytest.raises(PayloadCorruptedError) as raised:
        Model(list[int]).from_json(["secret"] * 9)

    assert "secret" not in str(raised.value)
    assert raised.value.__cause__ is None
    assert "and 6 more" in str(raised.value)


def test_what_is_nested_too_deeply_is_corrupt() -> None:
    stored: Any = {"name": "a"}
    for _ in range(2_000):
        stored = {"name": "a", "friends": [stored]}

    with pytest.raises(PayloadCorruptedError, match="is not a Customer"):
        Model(Customer).from_json(stored)


class Bare:
    pass


@pytest.mark.parametrize("type_", [5, "Order", None, Bare, Path.exists, Bare(), lambda: 1])
def test_what_cannot_be_a_type_is_refused(type_: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="cannot be the type of a queue"):
        Model(type_)


def test_pydantic_is_imported_when_a_type_is_given_and_not_before() -> None:
    code = (
        "import sys; from xclaim.payloads.codecs.models import Model\n"
        "print('pydantic' in sys.modules)\n"
        "sys.modules['pydantic'] = None\nfrom xclaim import InvalidArgumentError\n"
        "try:\n    Model(int)\nexcept InvalidArgumentError as error:\n    print(error)\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )

    assert result.stdout.startswith("False\n")
    assert 'pip install "xclaim[pydantic]"' in result.stdout
