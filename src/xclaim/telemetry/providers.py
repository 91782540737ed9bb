"""Which provider is there: one of an SDK, or none that does anything."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Generic, TypeVar

Provider = TypeVar("Provider")
Made = TypeVar("Made")

_API = ("opentelemetry.metrics", "opentelemetry.trace")  # whose own providers do nothing
_ASK_AGAIN = 0.05  # seconds: to ask each time would be a hundredth of a claim and ack


class Awake(Generic[Provider, Made]):
    """What is made of a provider: of the one that is given, else of the global one of now.

    ``ask`` returns the global one. While that does nothing, it is asked for again after a moment.
    It may be another one later: Airflow replaces it in each process that it forks.
    """

    def __init__(
        self, given: Provider | None, ask: Callable[[], Provider], make: Callable[[Provider], Made]
    ) -> None:
        self._ask = ask if given is None else lambda: given
        self._make = make
        self._provider: Provider | None = None
        self._made: Made | None = None
        self._asleep_until = 0.0

    def is_awake(self) -> bool:
        """Return whether there is a provider that does something."""
        return self.made() is not None

    def made(self) -> Made | None:
        """Return what was made of the provider; None while there is none that does something."""
        if self._made is None and time.monotonic() < self._asleep_until:
            return None
        provider = self._ask()
        if provider is not self._provider:
            does_nothing = type(provider).__module__.startswith(_API)
            self._made = None if does_nothing else self._make(provider)
            self._provider = provider
        if self._made is None:
            self._asleep_until = time.monotonic() + _ASK_AGAIN
        return self._made
