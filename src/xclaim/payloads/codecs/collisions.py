"""Values that a set or a dict cannot tell apart by their hashes: made to take quadratic time.

The hash of a number is its remainder by a known prime, and that of a tuple is made of those of its
parts: anybody can write a hundred thousand with one hash. Those of text and bytes are secret.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator
from decimal import Context, Decimal, InvalidOperation
from fractions import Fraction
from itertools import chain
from typing import Any

MOST_ALIKE = 100  # of one hash in one set; more than two of them are rare without intent
# Whatever some type reads as a number: with blanks, in any digits, a complex one or a fraction.
_NUMBER = re.compile(r"[\s\d_()+\-./eEjJ]+")
_UUID = re.compile(r"(?:urn:uuid:|\{)?([0-9a-fA-F-]{32,36})\}?", re.ASCII)
_DECIMALS = Context(traps=[InvalidOperation])
_PLAIN = (int, float)
_DEEPEST = 4  # lists within a list that are a part of its hash


def collide(values: Collection[Any]) -> bool:
    """Return whether more than ``MOST_ALIKE`` of the values have the same hash."""
    return len(values) > MOST_ALIKE and max(Counter(map(hash, values)).values()) > MOST_ALIKE


def numbers_collide(value: Any) -> bool:
    """Return whether JSON has more different numbers of one hash, wherever they stand in it.

    A type of one's own makes sets of lists, fields of objects, and numbers and UUIDs of texts and
    keys. Nobody has so many by chance.
    """
    return _differ(list(_numbers(value)))


def lists_collide(value: Any) -> bool:
    """Return whether a list in JSON has more different lists of one hash, as tuples or as sets.

    Only for types that have sets of them: -1 and -2 have one hash, and so have lists of these.
    """
    lists = [
        [_hashed(each) for each in outer if isinstance(each, list)]
        for outer in _containers(value)
        if isinstance(outer, list) and len(outer) > MOST_ALIKE
    ]
    # All as tuples at first: a set is not to be made of tuples of one hash.
    return any(map(_differ, lists)) or any(
        _differ(list(map(frozenset, each)))
        for each in lists
    )  # fmt: skip


def _differ(values: list[Any]) -> bool:
    """Return whether more than ``MOST_ALIKE`` values of one hash are different."""
    counts = Counter(map(hash, values))
    found: dict[int, list[Any]] = {each: [] for each, n in counts.items() if n > MOST_ALIKE}
    for value in values if found else ():
        alike = found.get(hash(value))
        if alike is not None and value not in alike:  # in a list: a set is what they make slow
            alike.append(value)
            if len(alike) > MOST_ALIKE:
                return True
    return False


def _containers(value: Any) -> Iterator[list[Any] | dict[str, Any]]:
    left = [value]
    while left:
        outer = left.pop()
        if isinstance(outer, list | dict):
            yield outer
            left += outer.values() if isinstance(outer, dict) else outer


def _numbers(value: Any) -> Iterator[Any]:
    for outer in _containers([value]):
        for leaf in chain(outer, outer.values()) if isinstance(outer, dict) else outer:
            if isinstance(leaf, _PLAIN):
                yield leaf
            elif isinstance(leaf, str):
                yield from _readings(leaf)


def _hashed(value: Any, levels: int = _DEEPEST) -> Any:
    """Return what has the hash of what a type may make of a value."""
    if type(value) in _PLAIN:
        return value
    if isinstance(value, list) and levels:
        return tuple([_hashed(each, levels - 1) for each in value])
    if isinstance(value, list | dict):
        return None
    return next(_readings(value), value) if isinstance(value, str) else value


def _readings(text: str) -> Iterator[Any]:
    """Yield the numbers that a type may make of a text, of which UUIDs are some."""
    if _NUMBER.fullmatch(text) and (number := _number(text)) is not None:
        yield number
    if found := _UUID.fullmatch(text):
        yield int(found[1].replace("-", "") or "0", 16)


def _number(text: str) -> Any:
    try:
        return Decimal(text, _DECIMALS)
    except InvalidOperation:
        pass  # it is no real number
    try:
        return Fraction(text) if "/" in text else complex(text)
    except (ArithmeticError, ValueError):
        return None
