"""Calls a task's function with messages, until there is none or one has failed.

That a limit of the queue is reached is not the end: it waits for room. A pause is one, because
nobody knows how long it takes.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from xclaim.airflow.tasks import open_claims
from xclaim.airflow.tasks.failing import OnDead, OnError, dead_letters_error, is_final
from xclaim.airflow.tasks.room import vacancy_of
from xclaim.arguments import MAX_DURATION, error_text
from xclaim.errors import MessagesFailedError, PayloadReadError

if TYPE_CHECKING:
    from xclaim import Claim, Message
    from xclaim.airflow.tasks.task_queue import TaskQueue
    from xclaim.consuming.waiting import Patience
    from xclaim.limits import Vacancy

_STEP = 0.25  # seconds between two looks whether the task is to end
_MOST_CHARACTERS = 1_000  # of an error


class Drain:
    """The calls of one try, and what became of their messages.

    :param queue: from which the messages come.
    :param call: what works on those of one call.
    :param on_error: whether an error of the call ends it.
    :param on_dead: whether a dead letter fails the task.
    """

    def __init__(
        self,
        queue: TaskQueue[Any],
        call: Callable[[list[Claim]], Any],
        *,
        on_error: OnError,
        on_dead: OnDead,
    ) -> None:
        self.results: list[Any] = []
        self.calls = 0
        self.consumed = 0
        self.failed: dict[int, str] = {}  # texts: an exception keeps all that its frames hold
        self.dead: list[Message] = []
        self.vacancy: Vacancy | None = None  # what kept it from going on
        self._patience: Patience | None = None  # of the wait for room that goes on
        self._queue = queue
        self._call = call
        self._on_error = on_error
        self._on_dead = on_dead
        self._raised: BaseException | None = None
        queue.keeper.collects = on_error is OnError.CONTINUE

    def run(
        self,
        size: int,
        *,
        lease: timedelta,
        lease_limit: timedelta,
        goes_on: Callable[[float], bool],
    ) -> None:
        """Call until nothing is left, or ``goes_on`` says no after so many seconds.

        Where a limit is reached it waits for room, and ends where the queue is paused.

        :param size: how many messages a call gets, at most.
        :param lease: extended from a thread while a call runs.
        :param lease_limit: how long that goes on at most.
        :param goes_on: whether to begin another call.
        """
        began = time.monotonic()

        def is_to_go_on() -> bool:
            return goes_on(time.monotonic() - began)

        while self.calls == 0 or is_to_go_on():
            claims: list[Claim] = []
            try:
                with self._queue.consume_many(
                    size, lease=lease, lease_limit=lease_limit
                ) as claimed:
                    claims = claimed
                    self._note_unreadable()
                    if claims:
                        self.vacancy = self._patience = None
                        self.calls += 1
                        self.results.append(self._called(claims))
            except Exception as error:
                if error is not self._raised:  # of the database, say
                    raise
                if self._queue.keeper.is_no_failure(error):
                    raise  # to go on would be to have its message again, and at once
                before = bool(self.failed or self.dead)
                self._note(claims, error)
                if self._ends_with(error, before=before):
                    raise
            else:
                self.consumed += len(claims)
                if not claims and not self._waits_for_room(is_to_go_on):
                    return

    def fail_if_any_failed(self) -> None:
        """Raise if messages have failed.

        :raises AirflowFailException: one has become a dead letter.
        :raises MessagesFailedError: others have failed; it names them.
        """
        error = MessagesFailedError(self.failed) if self.failed else None
        if self.dead and self._on_dead is OnDead.FAIL:
            raise dead_letters_error(self._queue.name, self.dead) from error
        if error is not None:
            raise error

    def __str__(self) -> str:
        """Return how it ended."""
        said = (
            f"{self._queue.name} in {self.calls} calls: {self.consumed} consumed, "
            f"{len(self.failed)} failed, {len(self.dead)} dead"
        )
        return said if self.vacancy is None else f"{said}; not all, {self.vacancy}"

    def _waits_for_room(self, is_to_go_on: Callable[[], bool]) -> bool:
        """Wait while a limit keeps messages from being claimed; return whether to look again."""
        self.vacancy = vacancy = vacancy_of(self._queue)
        if vacancy is None or vacancy.pause is not None:
            return False
        # What it keeps for its own retry is held until it has ended, and so on for all that wait.
        if vacancy.is_full and open_claims.kept_by(self._queue.keeper):
            return False
        self._patience = self._patience or _patience_of(self._queue)
        due_at = time.monotonic() + (self._patience.pause(vacancy.due_in) or 0.0)
        while is_to_go_on():
            left = due_at - time.monotonic()
            if left <= 0:
                return True
            time.sleep(min(left, _STEP))
        return False

    def _called(self, claims: list[Claim]) -> Any:
        try:
            return self._call(claims)
        except Exception as error:
            self._raised = error
            raise

    def _note_unreadable(self) -> None:
        """Note what nobody was called with; the task goes on, and fails at its end."""
        self.dead += self._queue.keeper.take_dead()
        for id_, text in self._queue.keeper.take_unreadable().items():
            self.failed[id_] = text[:_MOST_CHARACTERS]

    def _note(self, claims: list[Claim], error: Exception) -> None:
        ids = [claim.message.id for claim in claims]
        of_each = error.failed if isinstance(error, MessagesFailedError) else {}
        if isinstance(error, PayloadReadError) and error.message_id in ids:
            ids = [error.message_id]  # the others were handed back
        failed = [id_ for id_ in ids if id_ in of_each] or ids
        died = self._queue.keeper.take_dead()
        self.dead += died
        over = {message.id for message in died}
        for id_ in set(failed) - over:
            self.failed[id_] = str(error_text(of_each.get(id_) or error))[:_MOST_CHARACTERS]
        self.consumed += len(ids) - len(failed)

    def _ends_with(self, error: Exception, *, before: bool) -> bool:
        if is_final(error):
            if before:  # a skip, say, must not hide what failed
                self.fail_if_any_failed()
            return True
        if self._on_error is OnError.CONTINUE:
            return False
        if self.dead and self._on_dead is OnDead.FAIL:
            raise dead_letters_error(self._queue.name, self.dead) from error
        return bool(self.failed)  # else it was about dead letters only, which are ignored


def _patience_of(queue: TaskQueue[Any]) -> Patience:
    """Return the pauses of one wait for room in a queue."""
    from xclaim.consuming.waiting import Patience

    names = {engine.dialect.name for engine in queue._queue.runner.engines}  # noqa: SLF001
    return Patience(MAX_DURATION, names)
