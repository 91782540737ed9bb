"""The read model for who may see no payloads: without them, headers, and what errors say.

Here and not in the pages, of which one would forget it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from xclaim.observing.observer import Observer
from xclaim.observing.values import DeadLetters, Found, Letters, Life, Listed, Moment, Work


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
        )

    def failing(self, *arguments: Any, **options: Any) -> list[Listed]:
        """Return messages that failed and are tried again, without what is hidden."""
        return list(_discreet(super().failing(*arguments, **options)))

    def dead_letters(self, queue: str | None = None) -> DeadLetters:
        """Return the dead letters by the class of their error."""
        letters = super().dead_letters(queue)
        return replace(letters, groups=_by_class(letters.groups))

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


def _by_class(found: Iterable[Letters]) -> tuple[Letters, ...]:
    groups: dict[tuple[str, str | None], Letters] = {}
    for each in found:
        key = (each.queue, each.error_class)
        one = replace(each, first_line=None)
        groups[key] = _together(groups[key], one) if key in groups else one
    return tuple(groups.values())


def _together(one: Letters, other: Letters) -> Letters:
    newest = max(one, other, key=lambda each: each.last_died_at)
    return replace(
        newest,
        count=one.count + other.count,
        first_died_at=min(one.first_died_at, other.first_died_at),
        is_complete=one.is_complete and other.is_complete,
    )
