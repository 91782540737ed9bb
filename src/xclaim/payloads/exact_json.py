"""JSON that a person has written: refused is what Python would accept and change.

NaN and Infinity, numbers that a float does not hold exactly, and keys that stand twice.
"""

from __future__ import annotations

import json
import math
from typing import Any

from xclaim.arguments import refuse_constant

_MOST_SHOWN = 60  # characters of what is refused


class NotExactError(ValueError):
    """A number that would not come back as it is written, or a key that stands twice."""


def decode_exactly(text: str) -> Any:
    """Return the decoded JSON, or raise ValueError: where it is wrong, not what stands there."""
    try:
        return DECODER.decode(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"{error.msg}, in line {error.lineno} at {error.colno}") from None
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _exact_float(text: str) -> float:
    from xclaim.payloads.plain_json import exact_number  # not for commands that read none

    number = None if math.isinf(float(text)) else exact_number(text)
    if isinstance(number, float) and (number or not text.startswith("-")):
        return number
    raise _not_exact(text)


def _exact_int(text: str) -> int:
    if text == "-0":
        raise _not_exact(text)
    try:
        return int(text)
    except ValueError:  # Python's own limit, against texts that take minutes to read
        raise NotExactError(f"a number has {len(text):,} digits: push it as text") from None


def _not_exact(text: str) -> NotExactError:
    return NotExactError(
        f"the number {text[:_MOST_SHOWN]} would not come back as it is written: round it, or push "
        "it as text"
    )


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        double = next(name for name in names if names.count(name) > 1)
        raise NotExactError(f"the key {double[:_MOST_SHOWN]!a} stands twice in an object")
    return found


# json.loads would make one for each line.
DECODER = json.JSONDecoder(
    parse_constant=refuse_constant,
    parse_float=_exact_float,
    parse_int=_exact_int,
    object_pairs_hook=_without_doubles,
)
