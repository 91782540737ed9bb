"""The read model for who may see no payloads: without them, headers, and what errors say.

Here and not in the pages, of which one would forget it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from xclaim.observing.observer import Observer
from xclaim.observing.values import DeadLetters, Found, Life, Listed, Moment, Work


class DiscreetObserver(Observer):
    """An observer that tells of errors their class alone, and of payloads nothing."""

    def search(self, *arguments: Any, **options: Any) -> Found:
        """Return the messages that a filter is about, without what is hidden."""
        found = super().search(*arguments, **options)
        return replace(found, messages=_discreet(found.messages))

    def message(self, message_id: int) -> Life | None:
        """Return a message with what is known of it and is not hidden."""
        life = super().message(message_id)
        if life is None:
            return None
        (message,) = _discreet([life.message])
        return replace(
            life,
            message=message,
            moments=tuple(map(_moment, life.moments)),
            payload=None,
            payload_note=None,
            headers=None,
            headers_note=None,
        )

    def failing(self, *arguments: Any, **options: Any) -> list[Listed]:
        """Return messages that failed and are tried again, without what is hidden."""
        return list(_discreet(super().failing(*arguments, **options)))

    def dead_letters(self, queue: str | None = None) -> DeadLetters:
        """Return the dead letters without the texts of their errors."""
        letters = super().dead_letters(queue)
        hidden = tuple(replace(each, first_line=None) for each in letters.groups)
        return replace(letters, groups=hidden)

    def work(self, *arguments: Any, **options: Any) -> Work:
        """Return what an Airflow task did with messages, without what is hidden."""
        work = super().work(*arguments, **options)
        return replace(
            work,
            pushed=_discreet(work.pushed),
            held=_discreet(work.held),
            consumed=_discreet(work.consumed),
            failed=_discreet(work.failed),
        )


def _discreet(messages: Iterable[Listed]) -> tuple[Listed, ...]:
    return tuple(
        replace(message, error=None, excerpt=None, excerpt_note=None) for message in messages
    )


def _moment(moment: Moment) -> Moment:
    return replace(moment, error=None)
