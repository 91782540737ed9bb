"""Why a queue had nothing for a task: it is empty, paused, or its limits are reached."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from xclaim import AsyncQueue, Queue
    from xclaim.limits import Vacancy


def vacancy_of(queue: Queue[Any] | AsyncQueue[Any]) -> Vacancy | None:
    """Return what keeps messages of a queue from being claimed: a pause, or limits.

    None: nothing does, the queue is empty. Of a queue for asyncio: within ``bridged``.
    """
    from xclaim import verbs

    return queue._queue.run(verbs.VACANCY)  # noqa: SLF001  (not what a queue has for others)
