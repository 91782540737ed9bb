"""``exclusive(value)``: what a task returns so that one other task gets it, and nobody else.

The XCom backend of xclaim pushes the value as a message when the task returns it. The XCom says
where: queue, message id, connection. Reading that XCom claims nothing, however often it happens; a
task claims it in a ``with`` block, or as an argument of ``@task.exclusive``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from contextvars import ContextVar
from copy import copy
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import TYPE_CHECKING, Any, Final

from xclaim.arguments import LEASE, LEASE_LIMIT
from xclaim.errors import (
    ClaimLostError,
    DuplicateMessageError,
    InvalidArgumentError,
    MessagesFailedError,
)

if TYPE_CHECKING:
    from xclaim import Claim, Message, Pause, Queue
    from xclaim.airflow.hooks import XclaimHook
    from xclaim.airflow.tasks.identity import TaskIdentity

_DEFAULT_CONNECTION: Final = "xclaim_default"
_MAX_QUEUE_BYTES = 200
_PROBED = 1000  # keys that are looked for at a time
_ONE_TASK: Final = "only one task can have it; let each task that needs one have its own"


def exclusive(
    value: Any,
    queue_name: str | None = None,
    *,
    ordering_key: str | None = None,
    xclaim_conn_id: str = _DEFAULT_CONNECTION,
) -> ExclusiveValue:
    """Return what a task returns so that the value is consumed by one task only.

    Also in a list, to expand over, or in a dict. A retry pushes nothing twice; a task that was
    cleared and returns another value withdraws the former one if nobody has taken it.

    :param value: anything a message can hold.
    :param queue_name: the queue's name, by default ``<dag_id>.<task_id>``.
    :param ordering_key: of the values of a queue with the same one, one at a time can be claimed,
        in the order in which they were pushed, also by other runs: the task of a later one fails
        until it has the turn, so give it retries.
    :param xclaim_conn_id: a connection of type xclaim, postgres or sqlite.
    :raises InvalidArgumentError: it is not a running task that calls, or the key is none.
    """
    from xclaim.airflow.tasks.identity import current_task
    from xclaim.arguments import optional_ordering_key

    task = current_task()  # now: Airflow pushes what was returned when it knows of no task any more
    if task is None:
        raise InvalidArgumentError(
            "exclusive() is for the value that a running task returns: call it in the task"
        )
    return ExclusiveValue(
        queue=queue_name or _queue_of(task),
        xclaim_conn_id=xclaim_conn_id,
        task=task,
        payload=value,
        ordering_key=optional_ordering_key(ordering_key),
    )


class ExclusiveValueLostError(ClaimLostError):
    """The message of an exclusive value is not to be had; ``value`` says which."""

    def __init__(self, value: ExclusiveValue, fate: str) -> None:
        self.claims = []
        self.value = value
        Exception.__init__(
            self,
            f"the exclusive value (message {value.message_id} in {value.queue!r}) {fate}",
        )


class ExclusiveValue:
    """At first a value to push, in the XCom of another task the place of its message.

    ``with value as claim:`` claims it: acked at the end of the block, released if the block raises.
    A retry of the same task has it back at once; ``claim`` is None if an earlier try of the task
    has consumed it. Raises ExclusiveValueLostError if another task has it.
    """

    def __init__(
        self,
        *,
        queue: str,
        xclaim_conn_id: str,
        message_id: int | None = None,
        task: TaskIdentity | None = None,
        payload: Any = None,
        ordering_key: str | None = None,
    ) -> None:
        self.queue = queue
        self.xclaim_conn_id = xclaim_conn_id
        self.message_id = message_id
        self.task = task
        self.payload = payload
        self.ordering_key = ordering_key
        self._block: AbstractContextManager[list[Claim | None]] | None = None
        self._connections: Collection[str] = (_DEFAULT_CONNECTION,)

    def __repr__(self) -> str:
        """Return where it is; not the value, which may be confidential and ends up in logs."""
        return f"ExclusiveValue(queue={self.queue!r}, message_id={self.message_id})"

    def __getstate__(self) -> dict[str, Any]:
        """Return what is pickled, with an error perhaps: the block stays with its process."""
        return self.__dict__ | {"_block": None}

    def __eq__(self, other: object) -> bool:
        """Return whether both are the same message."""
        if not isinstance(other, ExclusiveValue) or self.message_id is None:
            return self is other
        return self._place == other._place

    def __hash__(self) -> int:
        """Return the hash of the place."""
        return hash(self._place)

    @property
    def _place(self) -> tuple[Any, ...]:
        return self.xclaim_conn_id, self.queue, self.message_id

    def on(self, xclaim_conn_id: str) -> ExclusiveValue:
        """Return the value, to be claimed on this connection: ``with value.on("payroll") as ...``.

        Without it a block claims on ``xclaim_default`` only: an XCom does not choose a connection.

        :param xclaim_conn_id: the one that ``exclusive()`` was called with.
        """
        chosen = copy(self)
        chosen._connections = (xclaim_conn_id,)  # noqa: SLF001  (of its own class)
        return chosen

    def __enter__(self) -> Claim | None:
        """Claim the message and keep the lease alive.

        :raises InvalidArgumentError: the value is of another connection, see ``on``.
        """
        if self._block is not None:
            raise InvalidArgumentError(f"{self!r} is claimed by this block already")
        block = consume_values([self], connections=self._connections)
        (claim,) = block.__enter__()
        self._block = block
        return claim

    def __exit__(self, *error: Any) -> None:
        """Ack the message, or release it."""
        block, self._block = self._block, None
        if block is not None:
            block.__exit__(*error)

    def serialize(self) -> dict[str, Any]:
        """Return where the message is, for an XCom: called by Airflow's serde, in our backend.

        :raises InvalidArgumentError: the value is not pushed, and this is not our backend.
        """
        if self.message_id is None:
            gathered = _gathered.get()
            if gathered is None:
                raise InvalidArgumentError(
                    "exclusive() needs the XCom backend of xclaim, which pushes the value: set "
                    "[core] xcom_backend = xclaim.airflow.xcom.XclaimXComBackend where tasks run"
                )
            gathered[id(self)] = self
        return {
            "queue": self.queue,
            "message_id": self.message_id,
            "xclaim_conn_id": self.xclaim_conn_id,
        }

    @staticmethod
    def deserialize(data: Mapping[str, Any], version: int) -> ExclusiveValue:  # noqa: ARG004
        """Return the value whose message is at that place: called by Airflow's serde.

        :param data: as ``serialize`` returned it.
        :param version: of the format.
        """
        types = {"queue": str, "message_id": int, "xclaim_conn_id": str}
        if not all(type(data.get(name)) is type_ for name, type_ in types.items()):
            raise InvalidArgumentError(f"not the place of an exclusive value: {data!r:.200}")
        return ExclusiveValue(**{name: data[name] for name in types})


# By identity, because one value may stand in several places.
_gathered: ContextVar[dict[int, ExclusiveValue] | None] = ContextVar("gathered", default=None)


@contextmanager
def gathering() -> Iterator[dict[int, ExclusiveValue]]:
    """Gather the values that serde comes upon in the block and that are still to be pushed."""
    found: dict[int, ExclusiveValue] = {}
    token = _gathered.set(found)
    try:
        yield found
    finally:
        _gathered.reset(token)


def push_values(values: Iterable[ExclusiveValue], key: str) -> None:
    """Push what an XCom holds, under keys by which a retry finds it again.

    :param values: in the order in which they stand in the XCom.
    :param key: the XCom's.
    :raises DuplicateMessageError: a retry returns another value, and the former one was taken.
    """
    found: dict[tuple[TaskIdentity, str, str], dict[int, ExclusiveValue]] = {}
    for position, value in enumerate(values):
        if value.task is not None:  # as all have that are still to be pushed
            place = (value.task, value.xclaim_conn_id, value.queue)
            found.setdefault(place, {})[position] = value
    for (task, connection, queue_name), by_position in found.items():
        queue = _hook(connection).queue(queue_name)
        if task.try_number > 1:
            _withdraw_what_is_left(task, queue, key, by_position)
        _push(task, queue, key, by_position)


@contextmanager
def consume_values(
    values: Iterable[ExclusiveValue],
    *,
    connections: Collection[str] = (_DEFAULT_CONNECTION,),
    lease: timedelta = LEASE,
    lease_limit: timedelta = LEASE_LIMIT,
    **on_failure: Any,
) -> Iterator[list[Claim | None]]:
    """Claim values for a block: ack them all at its end, release them all if it raises.

    Yields None for what an earlier try of the same task has consumed.

    :param values: each with its message.
    :param connections: those that the DAG names; a value of another one is refused.
    :param lease: extended from a thread, each third of it.
    :param lease_limit: how long that goes on at most.
    :param on_failure: ``retry``, ``on_error`` and ``on_dead`` of ``XclaimHook.queue``.
    :raises ExclusiveValueLostError: another task has one of them; then none is claimed.
    :raises InvalidArgumentError: one is of a connection that the DAG does not name.
    """
    listed = list(values)
    _check_connections(listed, connections)
    hooks = {value.xclaim_conn_id: _hook(value.xclaim_conn_id) for value in listed}
    claims = _claim_all(hooks, listed, lease)
    held: dict[tuple[str, str], list[Claim]] = {}
    for value, claim in zip(listed, claims, strict=True):
        if claim is not None:
            held.setdefault((value.xclaim_conn_id, claim.message.queue), []).append(claim)
    listed_ids = {claim.message.id for claim in claims if claim is not None}
    with ExitStack() as blocks:
        for (connection, queue), of_queue in held.items():
            block = (
                hooks[connection]
                .queue(queue, **on_failure)
                .working_on(of_queue, lease=lease, lease_limit=lease_limit)
            )
            blocks.enter_context(_unless_others_failed(block, of_queue, listed_ids))
        yield claims


def _check_connections(values: Iterable[ExclusiveValue], connections: Collection[str]) -> None:
    # The place comes from an XCom: whoever may write one would consume in any database there is.
    for value in values:
        if value.xclaim_conn_id not in connections:
            raise InvalidArgumentError(
                f"{value!r} is of the connection {value.xclaim_conn_id!r:.100}, which an XCom does "
                f"not choose; the DAG names {', '.join(map(repr, connections))}: if it is right, "
                "use @task.exclusive(xclaim_conn_id=...) or `with value.on(...)`"
            )


@contextmanager
def _unless_others_failed(
    block: AbstractContextManager[Any], claims: list[Claim], ids: set[int]
) -> Iterator[None]:
    """Enter a block that an error ends well which is about messages of other blocks."""
    others: MessagesFailedError | None = None
    with block:
        try:
            yield
        except MessagesFailedError as error:
            own = {claim.message.id for claim in claims}
            if own & error.failed.keys() or not ids & error.failed.keys():
                raise
            others = error
    if others is not None:
        raise others


def _claim_all(
    hooks: Mapping[str, XclaimHook], values: list[ExclusiveValue], lease: timedelta
) -> list[Claim | None]:
    claims: list[Claim | None] = []
    try:
        for value in values:
            claims.append(_claim(hooks[value.xclaim_conn_id], value, lease))  # noqa: PERF401
    except BaseException:
        for value, claim in zip(values, claims, strict=False):
            if claim is not None:
                hooks[value.xclaim_conn_id].queue(value.queue).release(claim, count=False)
        raise
    return claims


def _claim(hook: XclaimHook, value: ExclusiveValue, lease: timedelta) -> Claim | None:
    from xclaim.airflow.tasks.identity import current_task

    if value.message_id is None:
        raise InvalidArgumentError(f"{value!r} is not pushed yet: return it from a task first")
    task = current_task()
    queue = hook.queue(value.queue)
    claim = queue.claim_message(value.message_id, lease=lease)
    if claim is not None:
        return claim
    message = queue.get(value.message_id)
    if task is not None and message is not None and task.is_named_in(message.consumed_by):
        return None
    raise ExclusiveValueLostError(value, _fate(value, message, queue.paused()))


def _withdraw_what_is_left(
    task: TaskIdentity, queue: Queue, key: str, positions: Collection[int]
) -> None:
    """Withdraw what earlier tries and runs pushed under keys that this one does not push under.

    Where this one returns nothing any more, and under the names that an earlier rerun gave anew.
    """
    step = max(1, _PROBED // task.first_try)
    for start in count(0, step):
        keys = []
        for position in range(start, start + step):
            first, is_gone = _unique_key(task, key, position), position not in positions
            keys += [first] if is_gone else []
            reruns = range(2, task.first_try + is_gone)
            keys += [_unique_key(task, key, position, rerun) for rerun in reruns]
        is_over = not keys or (not queue.withdraw(keys) and not queue.find(keys))
        if is_over and start + step > max(positions):
            return


def _push(
    task: TaskIdentity, queue: Queue, key: str, by_position: Mapping[int, ExclusiveValue]
) -> None:
    payloads = [value.payload for value in by_position.values()]
    lines = [value.ordering_key for value in by_position.values()]
    options: dict[str, Any] = {
        "headers": task.lineage,
        "ordering_keys": lines if any(lines) else None,
        "on_full": "raise",
    }
    anew = {
        _unique_key(task, key, position): _unique_key(task, key, position, task.first_try)
        for position in by_position
    }
    keys = list(anew)
    messages: list[Message] | None = None
    while messages is None:
        try:
            messages = _push_instead(queue, payloads, keys, options)
        except DuplicateMessageError as error:
            renamed = _keys_of_other_values(anew, keys, error)
            if renamed == keys:
                raise
            keys = renamed
    if task.first_try > 1 and task.is_retry:  # which an earlier try named anew, and this one not
        queue.withdraw([anew[each] for each in keys if each in anew])
    for value, message in zip(by_position.values(), messages, strict=True):
        value.message_id, value.task, value.payload = message.id, None, None
        value.queue = message.origin_queue  # of a queue that is split the part, where its id is one


def _push_instead(
    queue: Queue, payloads: list[Any], keys: list[str], options: dict[str, Any]
) -> list[Message]:
    """Push in the place of what earlier tries and runs pushed under these keys and nobody took.

    Raise DuplicateMessageError with the keys of what was taken; of a split queue, in one part.
    """
    while True:
        try:
            return queue.push_many(payloads, unique_keys=keys, **options)
        except DuplicateMessageError as error:
            if not queue.withdraw(error.unique_keys):
                raise


def _keys_of_other_values(
    anew: Mapping[str, str], keys: list[str], error: DuplicateMessageError
) -> list[str]:
    """Return the keys, named ``anew`` where another value was taken.

    Of a task that was not cleared that is the same name: of a retry both would be worked on.
    """
    taken = set(error.unique_keys)
    return [anew.get(key, key) if key in taken else key for key in keys]


def _hook(connection: str) -> XclaimHook:
    from xclaim.airflow.hooks import XclaimHook
    from xclaim.airflow.xcom.settings import xcom_settings

    return XclaimHook(connection, fallback=xcom_settings().fallback)


def _unique_key(task: TaskIdentity, key: str, position: int, rerun: int = 1) -> str:
    """Return the key of a value; of a ``rerun``, which begins with that try, the one named anew."""
    from xclaim.task_names import shortened

    number = f"#{rerun}" if rerun > 1 else ""
    return shortened(f"{task.natural_key}/{key}", f"/exclusive/{position}{number}")


def _queue_of(task: TaskIdentity) -> str:
    name = f"{task.dag_id}.{task.task_id}"
    if len(name.encode()) > _MAX_QUEUE_BYTES:
        raise InvalidArgumentError(
            f"the queue that exclusive() names after the task is longer than {_MAX_QUEUE_BYTES} "
            f"bytes ({name!r}): pass exclusive(value, queue_name=...)"
        )
    return name


def _fate(value: ExclusiveValue, message: Message | None, pause: Pause | None) -> str:
    if message is None:
        return "is not there any more: it was withdrawn by a rerun of its task, or pruned"
    if message.consumed_at is not None:
        return f"was consumed by {message.consumed_by} at {message.consumed_at}: {_ONE_TASK}"
    if message.queue != value.queue:
        return f"was moved to {message.queue!r} after {message.attempts} attempts"
    if message.claimed_by is not None:
        return f"is held by {message.claimed_by} until {message.claim_expires_at}: {_ONE_TASK}"
    return _until_when(message, pause)


def _until_when(message: Message, pause: Pause | None) -> str:
    """Return why nobody can claim it now: a later try gets it."""
    if pause is not None:
        return (
            f"waits in a queue that {pause.paused_by} paused at {pause.paused_at}: a try after "
            "`xclaim unpause` gets it"
        )
    if message.available_at is None:
        return (
            f"stands in line for its ordering key {message.ordering_key!r}: a try that begins when "
            "those before it are done gets it, so give the task retries and a retry_delay"
        )
    if message.available_at <= datetime.now(UTC):
        return (
            f"could not be claimed now: queue {message.queue!r} has limits, which are reached (see "
            f"`xclaim limits {message.queue}`), or somebody is just claiming it; a later try may "
            "get it, so give the task retries and a retry_delay"
        )
    return f"is delayed until {message.available_at}: a later try gets it"
