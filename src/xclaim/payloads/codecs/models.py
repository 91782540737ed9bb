"""Payloads of a declared type, by pydantic: dataclasses, TypedDict and pydantic's own models."""

from __future__ import annotations

import json
from dataclasses import fields, is_dataclass
from inspect import isroutine
from typing import TYPE_CHECKING, Any, Generic, NoReturn, TypeVar

from xclaim.errors import InvalidArgumentError, PayloadCorruptedError, PayloadError
from xclaim.payloads.codecs.collisions import MOST_ALIKE, lists_collide, numbers_collide

if TYPE_CHECKING:
    from pydantic import TypeAdapter, ValidationError

T = TypeVar("T")
_MAX_LISTED = 3
_HARMLESS = 16 * 1024  # characters: of so few no set is slow


class Model(Generic[T]):
    """What a queue's ``type`` means: values of it become plain JSON, and plain JSON values of it.

    Dates and decimals are text as pydantic writes them, bytes are base64 (in pydantic's models
    their own ``model_config`` decides). Raise InvalidArgumentError for what is no type.
    """

    def __init__(self, type_: type[T]) -> None:
        self._type = type_
        self._adapter = _adapter_of(type_)
        self.name = str(getattr(type_, "__name__", type_))
        self._has_sets = _has_sets(self._adapter.core_schema)

    def to_json(self, value: T) -> Any:
        """Return the value as plain JSON. Raise PayloadError naming what is not of the type.

        Refused is also what would not come back as it is, of a subclass for example.
        """
        text = self._dumped(value)
        try:
            (plain,) = json.loads(text)
        except ValueError as error:  # of a number of more digits than Python reads
            self._refuse(value, error)
        read = self._read(text, plain, PayloadError)
        if not _is_same(value, read):
            raise PayloadError(
                f"payload of type {type(value).__name__} would not come back from JSON as it is, "
                f"as a {self.name}: push the type itself, and make its fields read what they write"
            )
        return plain

    def from_json(self, value: Any) -> T:
        """Return the value. Raise PayloadCorruptedError naming where it is not of the type."""
        try:
            text = json.dumps([value], allow_nan=False)
        except (RecursionError, TypeError, ValueError) as error:
            raise PayloadCorruptedError(f"payload is not a {self.name}: {error}") from error
        read: T = self._read(text, value, PayloadCorruptedError)
        return read

    def _dumped(self, value: Any) -> str:
        from pydantic_core import PydanticSerializationError

        try:
            return self._adapter.dump_json((value,), warnings="error").decode()
        except (PydanticSerializationError, AttributeError, RecursionError, TypeError) as error:
            self._refuse(value, error)
        except ValueError as error:
            self._refuse(value, error)

    def _refuse(self, value: Any, error: Exception) -> NoReturn:
        """Raise PayloadError with the place, which the serializer's own error does not have."""
        from pydantic_core import PydanticSerializationError, ValidationError, to_json

        try:
            # What it looks like in JSON, whatever it is, read by the rules of the type.
            text = to_json([value], fallback=repr, bytes_mode="base64", inf_nan_mode="strings")
            self._adapter.validate_json(text, strict=True)
        except ValidationError as invalid:
            raise PayloadError(_said("payload", self.name, invalid)) from invalid
        except (PydanticSerializationError, RecursionError, TypeError, ValueError):
            pass  # the error below is raised without the place
        raise PayloadError(f"payload is not a {self.name}: {_first_line(error)}") from error

    def _read(self, text: str, plain: Any, kind: type[PayloadError | PayloadCorruptedError]) -> Any:
        from pydantic_core import ValidationError

        if len(text) > _HARMLESS and self._is_slow(plain):
            raise kind(
                f"payload has more than {MOST_ALIKE} numbers of the same hash, which would make a "
                f"set or a dict of a {self.name} slow: they were chosen for it; make them text"
            )
        try:
            return self._adapter.validate_json(text)[0]
        except ValidationError as error:
            # Its `from` would print the input, which may be confidential, into every log.
            raise kind(_said("payload", self.name, error)) from None

    def _is_slow(self, plain: Any) -> bool:
        return numbers_collide(plain) or (self._has_sets and lists_collide(plain))


def _has_sets(schema: Any) -> bool:
    """Return whether a schema of pydantic's makes a set of anything."""
    if isinstance(schema, dict):
        return schema.get("type") in ("set", "frozenset") or any(map(_has_sets, schema.values()))
    return isinstance(schema, list) and any(map(_has_sets, schema))


def _is_same(one: Any, other: Any) -> bool:
    """Return whether the values are equal; NaN is, and so are objects of equal fields."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_is_same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(_is_same, one, other))
    if one == other or type(one) is not type(other):
        return bool(one == other)
    if is_dataclass(one):
        names = [field.name for field in fields(one)]
        return all(_is_same(getattr(one, name), getattr(other, name)) for name in names)
    if hasattr(one, "__dict__"):
        return _is_same(vars(one), vars(other))
    return bool(one != one and other != other)  # noqa: PLR0124 - NaN


def _adapter_of(type_: Any) -> TypeAdapter[Any]:
    try:
        from pydantic import ConfigDict, TypeAdapter
    except ImportError as error:
        raise InvalidArgumentError(
            'type=... needs pydantic: run `pip install "xclaim[pydantic]"`'
        ) from error
    config = ConfigDict(
        ser_json_bytes="base64", val_json_bytes="base64", ser_json_inf_nan="strings"
    )
    try:
        if isinstance(type_, str) or type_ is None or isroutine(type_):
            raise TypeError("it is no type")
        # In a tuple, since pydantic takes no configuration beside a dataclass or a TypedDict.
        return TypeAdapter(tuple[type_], config=config)
    except Exception as error:  # of whatever it is, which pydantic asks
        raise InvalidArgumentError(
            f"type={type_!r} cannot be the type of a queue ({_first_line(error)}): use a "
            "dataclass, a TypedDict or a model of pydantic"
        ) from error


def _said(noun: str, name: str, error: ValidationError) -> str:
    found = error.errors(include_url=False, include_input=False, include_context=False)
    listed = [f"{noun}{_place(each['loc'][1:])}: {each['msg']}" for each in found[:_MAX_LISTED]]
    more = f"; and {len(found) - _MAX_LISTED} more" if len(found) > _MAX_LISTED else ""
    return f"{noun} is not a {name}: {'; '.join(listed)[:1000]}{more}"


def _place(steps: tuple[int | str, ...]) -> str:
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step:.60}" for step in steps)


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:2])[:300] or type(error).__name__
