"""Which dataclasses and enums a payload may name, and how one is made without running its code."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import MISSING, fields, is_dataclass
from enum import Enum, Flag
from importlib import import_module
from typing import Any

from xclaim.errors import InvalidArgumentError, PayloadRefusedError

_MODULE = r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*"
_NAME = re.compile(rf"({_MODULE}):({_MODULE})", re.ASCII)
_PATTERN = re.compile(rf"{_MODULE}(?:\.\*|:\*|:{_MODULE})", re.ASCII)
_MAX_SHOWN = 120


class Allowed:
    """The types that are allowed: classes, and patterns of their names ``module:Class``."""

    def __init__(self, allowed: Sequence[type | str] = ()) -> None:
        if isinstance(allowed, str | bytes | type) or not isinstance(allowed, Iterable):
            raise InvalidArgumentError(f"allow must be a list of types: use allow=[{allowed!r}]")
        self.given = tuple(allowed)
        patterns = [one for one in self.given if isinstance(one, str)]
        classes = [one for one in self.given if not isinstance(one, str)]
        self._patterns = [_checked_pattern(pattern) for pattern in patterns]
        self._classes = {self.name_of(kind): kind for kind in map(_checked_class, classes)}

    def name_of(self, kind: type) -> str:
        """Return the name of the class as it stands in a payload."""
        return f"{kind.__module__}:{kind.__qualname__}"

    def covers(self, kind: type) -> bool:
        """Return whether instances of the class may be stored and read."""
        name = self.name_of(kind)
        return self._classes.get(name) is kind or self._is_covered(name)

    def problem_with(self, kind: type) -> str | None:
        """Return why instances of the class cannot be stored, and the way out, or None."""
        name = self.name_of(kind)
        if not self.covers(kind):
            return (
                f"is of type {name}, which is not allowed in payloads: "
                f"use Payloads(allow=[{kind.__name__}])"
            )
        if is_dataclass(kind) and not issubclass(kind, Enum) and kind.__new__ is not object.__new__:
            return f"is of type {name}, which makes its instances itself: use a plain dataclass"
        return None

    def find(self, name: str) -> type:
        """Return the class of this name. Raise PayloadRefusedError if it is not allowed here.

        Its module is imported only if a pattern allows the name.
        """
        if name in self._classes:
            return self._classes[name]
        if not self._is_covered(name):
            raise PayloadRefusedError(
                f"the payload names the type {_shown(name)}, which is not allowed here: use "
                f"Payloads(allow=[{_shown(name.rpartition(':')[2])}]) where it is read"
            )
        kind = _find_class(name)
        # What the module imported from elsewhere is not what the pattern allowed.
        if kind is None or self.name_of(kind) != name or not _is_describable(kind):
            raise PayloadRefusedError(
                f"the payload names the type {_shown(name)}, which is no dataclass or enum of "
                "that module here: deploy the version that pushed it, or release the message"
            )
        return kind

    def described(self, value: Any) -> Any:
        """Return the fields of a dataclass by name, or what finds the member of an enum."""
        if isinstance(value, Flag):
            return value.value
        if isinstance(value, Enum):
            return value.name
        names = [field.name for field in fields(value)]
        return {name: getattr(value, name) for name in names if hasattr(value, name)}

    def dataclass_of(self, kind: type, values: dict[str, Any]) -> Any:
        """Return an instance with these fields. Raise ValueError if they are not its fields.

        No constructor and no ``__post_init__`` runs: it is as it was. Fields that the class got
        later have their default.
        """
        if not is_dataclass(kind) or issubclass(kind, Enum):
            raise ValueError(f"{kind.__qualname__} is no dataclass")
        instance = object.__new__(kind)
        declared = {field.name: field for field in fields(kind)}
        if unknown := values.keys() - declared.keys():
            raise ValueError(f"{kind.__qualname__} has no field {min(unknown)[:_MAX_SHOWN]!r}")
        for name, field in declared.items():
            if name in values:
                object.__setattr__(instance, name, values[name])
            elif (default := _default_of(kind, field)) is not MISSING:
                object.__setattr__(instance, name, default)
        return instance

    def member_of(self, kind: type, described: Any) -> Enum:
        """Return the member of the enum. Raise ValueError or KeyError if it has none of these."""
        if not issubclass(kind, Enum):
            raise ValueError(f"{kind.__qualname__} is no enum")
        if not issubclass(kind, Flag):
            return kind[described]
        if type(described) is not int:
            raise ValueError(f"{kind.__qualname__} has no such member")
        return kind(described)

    def _is_covered(self, name: str) -> bool:
        if not (found := _NAME.fullmatch(name)):
            return False
        if name in self._patterns:
            return True
        module = found[1]
        # A wildcard does not import a `__main__`: that would run a program.
        if any(step.startswith("__") for step in module.split(".")):
            return False
        return f"{module}:*" in self._patterns or any(
            pattern.endswith(".*") and f"{module}.".startswith(pattern[:-1])
            for pattern in self._patterns
        )


def _default_of(kind: type, field: Any) -> Any:
    if field.default is not MISSING:
        return field.default
    if field.default_factory is not MISSING:
        return field.default_factory()
    if not field.init:
        return MISSING  # set by a method, or not yet
    raise ValueError(f"the field {field.name!r} of {kind.__qualname__} is missing")


def _find_class(name: str) -> type | None:
    module_name, _, path = name.partition(":")
    try:
        module = sys.modules.get(module_name) or import_module(module_name)
    except ImportError as error:
        raise PayloadRefusedError(
            f"the payload names the type {_shown(name)}, whose module cannot be imported here "
            f"({error}): install it where the payload is read"
        ) from error
    found: Any = module
    for step in path.split("."):  # vars() and not getattr(), which may run code
        found = vars(found).get(step)
        if not isinstance(found, type):
            return None
    return found if isinstance(found, type) else None


def _is_describable(kind: type) -> bool:
    return is_dataclass(kind) or issubclass(kind, Enum)


def _checked_class(kind: Any) -> type:
    if isinstance(kind, type) and _is_describable(kind):
        return kind
    raise InvalidArgumentError(
        f"allow has {kind!r}, which is no dataclass and no enum: allow the class itself or "
        "'module:Class', and use Queue(type=...) for models of pydantic"
    )


def _checked_pattern(pattern: str) -> str:
    if _PATTERN.fullmatch(pattern):
        return pattern
    raise InvalidArgumentError(
        f"allow has {pattern!r}: use 'shop.orders:Order' for a class, 'shop.orders:*' for those "
        "of a module, or 'shop.*' for those of a package"
    )


def _shown(name: str) -> str:
    return name if len(name) <= _MAX_SHOWN else f"{name[:_MAX_SHOWN]}..."
