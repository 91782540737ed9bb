"""Values as tagged JSON. The tags stand in rows: none of them ever changes its meaning."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Callable, Collection, Iterable
from dataclasses import is_dataclass
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from enum import Enum
from types import NoneType
from typing import Any, NoReturn
from uuid import UUID
from zoneinfo import ZoneInfo

from xclaim.arguments import is_storable_text
from xclaim.errors import PayloadError
from xclaim.payloads.codecs.allowed_types import Allowed
from xclaim.payloads.codecs.collisions import MOST_ALIKE, collide
from xclaim.payloads.plain_json import MAX_DEPTH

TAG = "$"
# Python refuses decimal texts of over 4,300 digits; a hexadecimal one is read in linear time.
_MAX_PLAIN_BITS = 8_192
_LEVELS = (list, tuple, dict, set, frozenset)

encoder = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":")
)


class Encoding:
    """One walk through a value. ``place`` is where it is, and where it stands after an error."""

    def __init__(self, allowed: Allowed) -> None:
        self.allowed = allowed
        self.place: list[str] = []
        self.is_hashed = False  # in a set or a key, where a tuple cannot become a list

    def tagged(self, value: Any) -> Any:
        """Return the value as JSON."""
        # An empty one has nothing inside, and is a level nevertheless, as it is in plain JSON.
        if len(self.place) >= MAX_DEPTH and _is_level(value):
            self.refuse_depth()
        encode = ENCODERS.get(type(value)) or self._for_subclass(value)
        return encode(self, value)

    def inside(self, step: str, value: Any) -> Any:
        """Return what lies one step further in as JSON."""
        if len(self.place) >= MAX_DEPTH:
            self.refuse_depth()
        self.place.append(step)
        encoded = self.tagged(value)
        self.place.pop()
        return encoded

    def each(self, values: Iterable[Any]) -> list[Any]:
        """Return all the values as JSON."""
        return [self.inside(f"[{index}]", value) for index, value in enumerate(values)]

    def hashed(self, values: Iterable[Any]) -> list[Any]:
        """Return the elements of a set or the keys of a dict as JSON."""
        was_hashed, self.is_hashed = self.is_hashed, True
        encoded = self.each(values)
        self.is_hashed = was_hashed
        return encoded

    def refuse_depth(self) -> NoReturn:
        """Raise PayloadError for a cycle, or for what is too deep."""
        raise PayloadError(
            f"payload must not contain a cycle, or be nested deeper than {MAX_DEPTH} levels: "
            "flatten it"
        )

    def refuse(self, problem: str) -> NoReturn:
        """Raise PayloadError for what is at this place."""
        raise PayloadError(f"payload{''.join(self.place)} {problem}")

    def _for_subclass(self, value: Any) -> Callable[[Encoding, Any], Any]:
        if isinstance(value, Enum):
            if not isinstance(value, str | int) or self.allowed.covers(type(value)):
                return _instance
        elif is_dataclass(value) and not isinstance(value, type):
            return _instance
        for plain in (str, int, float, dict, list, tuple):  # as json itself takes them
            if isinstance(value, plain):
                return ENCODERS[plain]
        kind = type(value)
        return self.refuse(
            f"is of type {kind.__module__}.{kind.__qualname__}, which no JSON stands for: convert "
            "it to a type of the standard library, or register a codec for it"
        )


def _is_level(value: Any) -> bool:
    return isinstance(value, _LEVELS) or (is_dataclass(value) and not isinstance(value, type))


def step_of(key: Any) -> str:
    """Return the step to an item for errors; only of plain keys, a repr may be huge or fail."""
    is_plain = type(key) is str or (type(key) is int and key.bit_length() < 64)  # noqa: PLR2004
    return f"[{key!r:.60}]" if is_plain else f"[{type(key).__name__}]"


def _tag(name: str, value: Any, **more: Any) -> dict[str, Any]:
    return {TAG: name, "value": value, **more}


def _base64(content: bytes | bytearray) -> str:
    return b64encode(content).decode()


def _text(_: Encoding, value: str) -> Any:
    if is_storable_text(value):
        return str.__str__(value)
    return _tag("text", _base64(value.encode(errors="surrogatepass")))


def _int(_: Encoding, value: int) -> Any:
    number = int(value)
    return number if number.bit_length() <= _MAX_PLAIN_BITS else _tag("int", hex(number))


def _float(_: Encoding, value: float) -> Any:
    text = float.__repr__(value)
    # jsonb has no NaN, no infinity and no -0.0, and it reads 1e+22 as an integer.
    is_plain = "e" not in text and "n" not in text and text != "-0.0"
    return float(value) if is_plain else _tag("float", text)


def _complex(encoding: Encoding, value: complex) -> Any:
    return _tag("complex", [_float(encoding, value.real), _float(encoding, value.imag)])


def _list(encoding: Encoding, value: list[Any]) -> Any:
    return encoding.each(value)


def _tuple(encoding: Encoding, value: tuple[Any, ...]) -> Any:
    encoded = encoding.each(value)
    return _tag("tuple", encoded) if encoding.is_hashed else encoded


def _set(encoding: Encoding, value: set[Any] | frozenset[Any]) -> Any:
    _refuse_collisions(encoding, value)
    name = "frozenset" if isinstance(value, frozenset) else "set"
    return _tag(name, sorted(encoding.hashed(value), key=encoder.encode))


def _refuse_collisions(encoding: Encoding, values: Collection[Any]) -> None:
    if collide(values):
        encoding.refuse(
            f"has more than {MOST_ALIKE} elements of the same hash, which makes sets and dicts "
            "slow: use a list, or text"
        )


def _dict(encoding: Encoding, value: dict[Any, Any]) -> Any:
    if TAG in value or not all(isinstance(key, str) and is_storable_text(key) for key in value):
        _refuse_collisions(encoding, value)
        keys = encoding.hashed(value)
        items = [encoding.inside(step_of(key), item) for key, item in value.items()]
        pairs = sorted(map(list, zip(keys, items, strict=True)), key=encoder.encode)
        return _tag("dict", pairs)
    return {
        str.__str__(key): encoding.inside(f".{key}", item)
        for key, item in value.items()
    }  # fmt: skip


def _date(_: Encoding, value: date) -> Any:
    return _tag("date", value.isoformat())


def _datetime(encoding: Encoding, value: datetime) -> Any:
    return _moment(encoding, "datetime", value)


def _time(encoding: Encoding, value: time) -> Any:
    return _moment(encoding, "time", value)


def _moment(encoding: Encoding, name: str, value: datetime | time) -> Any:
    more: dict[str, Any] = {"fold": 1} if value.fold else {}
    zone = value.tzinfo
    if zone is not None and not _is_readable_offset(zone):
        # The wall clock and the rules, which may have changed until it is read: no offset.
        more["zone"] = encoding.inside(".tzinfo", zone)
        value = value.replace(tzinfo=None)
    return _tag(name, value.isoformat(), **more)


def _is_readable_offset(zone: tzinfo) -> bool:
    # fromisoformat() reads an offset below a second as none (seen in CPython 3.11)
    return (
        type(zone) is timezone
        and zone.utcoffset(None).microseconds == 0
        and not _has_name_of_its_own(zone)
    )


def _has_name_of_its_own(zone: timezone) -> bool:
    return zone.tzname(None) != timezone(zone.utcoffset(None)).tzname(None)


def _timedelta(_: Encoding, value: timedelta) -> Any:
    return _tag("timedelta", [value.days, value.seconds, value.microseconds])


def _timezone(encoding: Encoding, value: timezone) -> Any:
    offset = _timedelta(encoding, value.utcoffset(None))
    name = [_text(encoding, value.tzname(None))] if _has_name_of_its_own(value) else []
    return _tag("timezone", [offset, *name])


def _zone(encoding: Encoding, value: ZoneInfo) -> Any:
    if value.key is None:
        encoding.refuse("is a time zone without a name: use ZoneInfo(name)")
    return _tag("zone", value.key)


def _instance(encoding: Encoding, value: Any) -> Any:
    allowed, kind = encoding.allowed, type(value)
    problem = allowed.problem_with(kind)
    if problem is not None:
        encoding.refuse(problem)
    name = allowed.name_of(kind)
    if isinstance(value, Enum):
        return _tag("enum", encoding.inside(".value", allowed.described(value)), type=name)
    fields = allowed.described(value)
    encoded = {field: encoding.inside(f".{field}", item) for field, item in fields.items()}
    return _tag("dataclass", encoded, type=name)


ENCODERS: dict[type, Callable[[Encoding, Any], Any]] = {
    NoneType: lambda _, value: value,
    bool: lambda _, value: value,
    bytearray: lambda _, value: _tag("bytearray", _base64(value)),
    bytes: lambda _, value: _tag("bytes", _base64(value)),
    complex: _complex,
    date: _date,
    datetime: _datetime,
    Decimal: lambda _, value: _tag("decimal", str(value)),
    dict: _dict,
    float: _float,
    frozenset: _set,
    int: _int,
    list: _list,
    set: _set,
    str: _text,
    time: _time,
    timedelta: _timedelta,
    timezone: _timezone,
    tuple: _tuple,
    UUID: lambda _, value: _tag("uuid", str(value)),
    ZoneInfo: _zone,
}
