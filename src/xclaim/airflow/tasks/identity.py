"""Who is asking: the names that a running task instance claims and pushes under."""

from __future__ import annotations

import hashlib
import os
import re
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from xclaim.errors import DuplicateMessageError, InvalidArgumentError
from xclaim.task_names import natural_key, shortened

_DIGEST_LENGTH = 16
_CLOCKS_DIFFER = timedelta(minutes=1)  # Airflow's and the database's, at most


class Automatic:
    """Stands for the unique key that is made from the running task."""

    def __repr__(self) -> str:
        """Return the name of the one there is."""
        return "AUTOMATIC"


AUTOMATIC: Final = Automatic()


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskIdentity:
    """One try of one task instance."""

    instance_id: str
    dag_id: str
    run_id: str
    task_id: str
    map_index: int
    try_number: int
    first_try: int = 1  # of this run of the task: more than 1 after somebody has cleared it

    @property
    def natural_key(self) -> str:
        """``dag/run/task[map]``: the same for every try, and for a cleared and rerun task."""
        return natural_key(self.dag_id, self.run_id, self.task_id, self.map_index)

    @property
    def claim_key(self) -> str:
        """By which a later try takes back what an earlier one still holds."""
        return shortened(self.natural_key)

    @property
    def claimed_by(self) -> str:
        """``dag/run/task[map]#try@host``, readable."""
        return shortened(self.natural_key, f"#{self.try_number}@{socket.gethostname()}")

    def unique_key(self, sequence: int) -> str:
        """Return the key of this task instance's push number ``sequence`` to a queue."""
        return shortened(self.natural_key, f"/{sequence}")

    def unique_key_of_rerun(self, sequence: int) -> str:
        """Return such a key that is another one after the task was cleared; retries share it."""
        rerun = f"#{self.first_try}" if self.first_try > 1 else ""
        return shortened(self.natural_key, f"{rerun}/{sequence}")

    def ticket_key(self, sequence: int) -> str:
        """Return the claim key of this task instance's ticket number ``sequence`` of a queue."""
        return shortened(self.natural_key, f"/ticket/{sequence}")

    def resumption_key(self, ticket: str) -> str:
        """Return the claim key under which this task instance resumes a ticket."""
        digest = hashlib.sha256(ticket.encode()).hexdigest()[:_DIGEST_LENGTH]
        return shortened(self.natural_key, f"/resumes/{digest}")

    def message_key(self, message_id: int) -> str:
        """Return the claim key under which this task instance claims one certain message."""
        return shortened(self.natural_key, f"/message/{message_id}")

    def is_named_in(self, claimant: str | None) -> bool:
        """Return whether a try of this task instance is the claimant."""
        return self._try_of(claimant) is not None

    def has_tried_as(self, claimant: str | None) -> bool:
        """Return whether a claimant was a try of the task since it was cleared last."""
        number = self._try_of(claimant)
        return number is not None and number >= self.first_try

    def _try_of(self, claimant: str | None) -> int | None:
        """Return the number of the try that a claimant is, None if it is none of this task's."""
        ending = re.search(r"#(\d+)@[^@]*$", claimant or "")
        # Made anew: how much of a long name is left depends on the host's.
        if ending is None or claimant != shortened(self.natural_key, ending[0]):
            return None
        return int(ending[1])

    @property
    def is_retry(self) -> bool:
        """Whether an earlier try of the same run of the task has failed."""
        return self.try_number > self.first_try

    @property
    def lineage(self) -> dict[str, Any]:
        """The headers that say which task pushed a message."""
        return {
            "dag_id": self.dag_id,
            "run_id": self.run_id,
            "task_id": self.task_id,
            "map_index": self.map_index,
            "try_number": self.try_number,
        }


def running_instance() -> Any:
    """Return Airflow's task instance this code runs in, None outside of one."""
    from airflow.sdk import get_current_context

    try:
        return get_current_context()["ti"]
    except RuntimeError:  # how Airflow says that there is no context
        return None


def is_of_former_run(at: datetime | None) -> bool:
    """Return whether it was before the run of the running task: in one of its name, now deleted.

    False where nobody knows.
    """
    from airflow.sdk import get_current_context

    try:
        run: Any = get_current_context().get("dag_run")
    except RuntimeError:
        return False
    began: datetime | None = getattr(run, "start_date", None)
    return began is not None and at is not None and at < began - _CLOCKS_DIFFER


def current_task() -> TaskIdentity | None:
    """Return who the task instance is that this code runs in, None outside of one."""
    instance = running_instance()
    return None if instance is None else identity_of(instance)


def identity_of(instance: Any) -> TaskIdentity:
    """Return who a task instance of Airflow's is."""
    return TaskIdentity(
        instance_id=str(instance.id),
        dag_id=instance.dag_id,
        run_id=instance.run_id,
        task_id=instance.task_id,
        map_index=-1 if instance.map_index is None else instance.map_index,
        try_number=instance.try_number,
        # As Airflow itself reckons it: clearing sets max_tries to the try number plus the retries.
        first_try=max(1, instance.max_tries - (instance.task.retries or 0) + 1),
    )


class PushSequence:
    """Numbers the pushes of a try to each queue, so that a retry gives the same numbers again.

    Kept per process and by the instance id, which is new with every try. A process that a task
    forks would count from its parent's number on, as its siblings do: it is refused.
    """

    def __init__(self) -> None:
        self._instance_id: str | None = None
        self._forking: str | None = None
        self._forked_from: str | None = None
        self._next: dict[str, int] = {}
        self._lock = threading.Lock()
        # In the parent: an import in the child could wait forever for a lock of a lost thread.
        os.register_at_fork(before=self._note_the_task, after_in_child=self._become_a_fork)

    @contextmanager
    def numbers(self, instance_id: str, queue: str, count: int) -> Iterator[range]:
        """Yield the next ``count`` numbers of this try and queue, from 0, to push under.

        A push that failed gives its numbers back: trying it again in the same task must use the
        same key, because it may have been committed before the connection broke.
        """
        taken = self._take(instance_id, queue, count)
        try:
            yield taken
        except DuplicateMessageError:  # the number belongs to a message, if to another one
            raise
        except BaseException:
            self._give_back(queue, taken)
            raise

    def _take(self, instance_id: str, queue: str, count: int) -> range:
        if instance_id == self._forked_from:
            raise InvalidArgumentError(
                "the automatic unique_key counts the pushes of the task's own process, and this "
                "is a fork of it: pass a unique_key of your own, or None"
            )
        with self._lock:
            if instance_id != self._instance_id:
                self._instance_id, self._next = instance_id, {}
            first = self._next.get(queue, 0)
            self._next[queue] = first + count
        return range(first, first + count)

    def _give_back(self, queue: str, taken: range) -> None:
        with self._lock:
            if self._next.get(queue) == taken.stop:  # else another thread has gone on from there
                self._next[queue] = taken.start

    def _note_the_task(self) -> None:
        task = current_task() if "airflow.sdk" in sys.modules else None
        self._forking = task.instance_id if task else None

    def _become_a_fork(self) -> None:
        self._forked_from = self._forking


# Here, and not beside the queue that uses it: that is imported with the first push, which may be
# in a fork of the task, and then nothing would know that it is one.
pushes: Final = PushSequence()
