"""Parts of a page that can fail alone: what was asked for, or what to say instead."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from xclaim.errors import XclaimError
from xclaim.web.failures import Failure, failure_of

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Part(Generic[T]):
    """The answer to one question of a page, or why there is none."""

    value: T | None = None
    failure: Failure | None = None


def part_of(ask: Callable[[], T]) -> Part[T]:
    """Return the answer, or what to say: one slow question does not take the page with it."""
    try:
        return Part(value=ask())
    except XclaimError as error:
        return Part(failure=failure_of(error))
