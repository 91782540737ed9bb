"""Dead letters as pages show them: by the class of their error, with what they say beneath it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from xclaim.observing.values import Letters

_MOST_TEXTS = 20  # of a class: an error with an id in its text says something else each time


@dataclass(frozen=True, slots=True, kw_only=True)
class OfClass:
    """Dead letters of a queue with the same class of error.

    ``letters`` are all of them together; of their first lines ``texts`` are the most frequent, and
    ``left`` is how many others there are. Texts that are hidden are not there.
    """

    letters: Letters
    texts: tuple[Letters, ...]
    left: int


def by_class(found: Iterable[Letters], *, with_text: bool) -> Iterator[OfClass]:
    """Yield the groups, the largest first."""
    groups: dict[tuple[str, str | None], list[Letters]] = {}
    for each in found:
        groups.setdefault((each.queue, each.error_class), []).append(each)
    together = [(_together(group), group) for group in groups.values()]
    for letters, group in sorted(together, key=lambda each: (-each[0].count, each[0].queue)):
        texts = sorted(group, key=lambda each: (-each.count, -each.newest_id)) if with_text else []
        yield OfClass(
            letters=letters if with_text else replace(letters, first_line=None),
            texts=tuple(texts[:_MOST_TEXTS]),
            left=len(texts[_MOST_TEXTS:]),
        )


def _together(group: list[Letters]) -> Letters:
    """Return the letters as one group, with the first line of the newest."""
    return replace(
        max(group, key=lambda each: each.last_died_at),
        count=sum(each.count for each in group),
        first_died_at=min(each.first_died_at for each in group),
        is_complete=all(each.is_complete for each in group),
    )
