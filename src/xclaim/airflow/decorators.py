"""``@task.exclusive``: a function that works on messages, each of which it alone has."""

from __future__ import annotations

import inspect
from collections.abc import (
    AsyncGenerator,
    Awaitable,
    Callable,
    Collection,
    Generator,
    Mapping,
    Sequence,
)
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal, TypeVar, Unpack, overload

import xclaim.airflow.versions  # noqa: F401  (refuses an Airflow that is too old)

from airflow.providers.standard.operators.python import PythonOperator
from airflow.sdk.bases.decorator import (
    DecoratedOperator,
    task_decorator_factory,
)
from airflow.sdk.definitions.context import KNOWN_CONTEXT_KEYS

from xclaim.airflow.hooks import XclaimHook
from xclaim.airflow.links import LinkedToMessages
from xclaim.airflow.operators import OnEmpty, checked_on_empty, end_empty, end_with
from xclaim.airflow.tasks.draining import Drain
from xclaim.airflow.tasks.failing import OnDead, OnError, checked_on_dead, checked_on_error
from xclaim.airflow.xcom.call_arguments import HandedOver
from xclaim.airflow.xcom.exclusive_values import consume_values
from xclaim.arguments import LEASE, LEASE_LIMIT, MAX_LIMIT, seconds, whole_number
from xclaim.errors import InvalidArgumentError
from xclaim.retry import RETRY, Retry, checked_retry

if TYPE_CHECKING:
    from airflow.sdk.bases.decorator import Task

    from xclaim import Claim
    from xclaim.airflow.decorator_types import (
        DecoratesAny,
        DecoratesMessage,
        DecoratesMessages,
        HandOverOptions,
        QueueOptions,
    )

R = TypeVar("R")

__all__ = [
    "ExclusiveDecoratedOperator",
    "HandOverDecoratedOperator",
    "exclusive_task",
    "hand_over_task",
]

_OF_QUEUES = ("argument", "batch", "drain", "max_seconds")


class ExclusiveDecoratedOperator(LinkedToMessages, DecoratedOperator, PythonOperator):
    """Calls the function with a message, or a batch of them; acks when it returns.

    :param queue_name: the queue's name. (templated)
    :param argument: the function's parameter that receives the message, or the list of messages.
    :param lease: extended from a thread while the function runs.
    :param lease_limit: how long that goes on at most.
    :param batch: how many messages a call gets, at most; more than 1 passes a list.
    :param on_empty: how the task ends when there was nothing: ``skip``, ``succeed`` or ``fail``.
    :param on_error: ``retry``: a message whose call raised stays with the task, for its own retry;
        ``release``: it is released at once; ``continue``: as ``retry``, but the task goes on with
        other messages and fails at its end, naming those that failed.
    :param on_dead: whether the task is to ``fail`` if a message has become a dead letter, or to
        ``ignore`` it.
    :param retry: how long a message rests after a failed attempt, and how many it has.
    :param drain: whether to go on until the queue is empty, waiting for room where a limit of the
        queue is reached, or until it is paused.
    :param max_seconds: after which no further message is begun.
    :param xclaim_conn_id: a connection of type xclaim, postgres or sqlite. (templated)
    """

    template_fields: Sequence[str] = (
        *PythonOperator.template_fields,
        "queue_name",
        "xclaim_conn_id",
    )
    custom_operator_name = "@task.exclusive"
    ui_color = "#e8f3ee"

    def __init__(
        self,
        *,
        python_callable: Callable[..., Any],
        queue_name: str,
        op_args: Collection[Any] | None = None,
        op_kwargs: Mapping[str, Any] | None = None,
        argument: str | None = None,
        lease: timedelta = LEASE,
        lease_limit: timedelta = LEASE_LIMIT,
        batch: int = 1,
        on_empty: str = OnEmpty.SKIP,
        on_error: str = OnError.RETRY,
        on_dead: str = OnDead.FAIL,
        retry: Retry = RETRY,
        drain: bool = False,
        max_seconds: float | None = None,
        xclaim_conn_id: str = XclaimHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        self.queue_name = queue_name
        self.batch = whole_number("batch", batch, 1, MAX_LIMIT)
        self.argument = checked_argument(python_callable, argument, self.batch)
        self.lease = lease
        self.lease_limit = lease_limit
        self.on_empty = checked_on_empty(on_empty)
        self.on_error = checked_on_error(on_error, has_others=drain or self.batch > 1)
        self.on_dead = checked_on_dead(on_dead)
        self.retry = checked_retry(retry)
        self.drain = drain
        self.max_seconds = checked_max_seconds(max_seconds, drain=drain)
        self.xclaim_conn_id = xclaim_conn_id
        self._is_stopping = False
        given = dict(op_kwargs or {})
        if given.get(self.argument) is not None:
            raise InvalidArgumentError(
                f"{python_callable.__name__}({self.argument}=...) is filled in with the message: "
                "leave it out, or name another parameter with @task.exclusive(argument=...)"
            )
        # Airflow binds the arguments when the file is parsed, long before there is a message.
        given[self.argument] = None
        if drain:  # it returns a list, also of dicts, of which Airflow would unroll each
            kwargs["multiple_outputs"] = False
        super().__init__(
            kwargs_to_upstream={
                "python_callable": python_callable,
                "op_args": op_args,
                "op_kwargs": given,
            },
            python_callable=python_callable,
            op_args=op_args,
            op_kwargs=given,
            **kwargs,
        )

    def execute_callable(self) -> Any:
        """Call the function with messages; return its result, or when draining the results."""
        ends_once = OnError.RETRY if self.on_error is OnError.CONTINUE else self.on_error
        queue = XclaimHook(self.xclaim_conn_id).queue(
            self.queue_name, retry=self.retry, on_error=ends_once, on_dead=self.on_dead
        )
        drain = Drain(queue, self._call, on_error=self.on_error, on_dead=self.on_dead)
        try:
            drain.run(
                self.batch, lease=self.lease, lease_limit=self.lease_limit, goes_on=self._goes_on
            )
        finally:
            if self.drain and drain.calls:
                self.log.info("drained %s", drain)
        drain.fail_if_any_failed()  # also if nothing was left to call it with
        if not drain.calls:
            return end_empty(self.on_empty, self.queue_name, drain.vacancy)
        if self.drain:
            return [result for result in drain.results if result is not None]
        return drain.results[0] if drain.results else None

    def on_kill(self) -> None:
        """Begin no further message: Airflow lets the function go on after a SIGTERM."""
        self._is_stopping = True

    def _call(self, claims: list[Claim]) -> Any:
        messages = [claim.message for claim in claims]
        value = messages if self.batch > 1 else messages[0]
        given = self.op_kwargs
        self.op_kwargs = {**given, self.argument: value}
        try:
            return checked_result(self.task_id, super().execute_callable())
        finally:  # what looks at the task afterwards, a listener say, finds no payload
            self.op_kwargs = given

    def _goes_on(self, seconds: float) -> bool:
        if not self.drain or self._is_stopping:
            return False
        return self.max_seconds is None or seconds < self.max_seconds


class HandOverDecoratedOperator(LinkedToMessages, DecoratedOperator, PythonOperator):
    """Calls the function with the messages of the exclusive values it is passed.

    A value may be an argument, or stand in one that is a list or a dict. All are acked when the
    function returns and released when it raises. What an earlier try of the task has consumed is
    left out of lists and dicts; if nothing is left, the function is not called.

    :param lease: extended from a thread while the function runs.
    :param lease_limit: how long that goes on at most.
    :param on_empty: how a retry ends whose earlier try has consumed everything: ``skip``,
        ``succeed`` or ``fail``.
    :param on_error: ``retry``: values whose call raised stay with the task, for its own retry;
        ``release``: they are released at once.
    :param on_dead: whether the task is to ``fail`` if one has become a dead letter, or to
        ``ignore`` it.
    :param retry: how long a value rests after a failed attempt, and how many it has.
    :param xclaim_conn_id: the connection of the values, or a list of connections: a value of
        another one is refused, because an XCom does not choose a connection. (templated)
    """

    template_fields: Sequence[str] = (*PythonOperator.template_fields, "xclaim_conn_id")
    custom_operator_name = "@task.exclusive"
    ui_color = "#e8f3ee"

    def __init__(
        self,
        *,
        python_callable: Callable[..., Any],
        op_args: Collection[Any] | None = None,
        op_kwargs: Mapping[str, Any] | None = None,
        lease: timedelta = LEASE,
        lease_limit: timedelta = LEASE_LIMIT,
        on_empty: str = OnEmpty.SKIP,
        on_error: str = OnError.RETRY,
        on_dead: str = OnDead.FAIL,
        retry: Retry = RETRY,
        xclaim_conn_id: str | Collection[str] = XclaimHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        self.lease = lease
        self.lease_limit = lease_limit
        self.xclaim_conn_id = xclaim_conn_id
        self.on_empty = checked_on_empty(on_empty)
        self.on_error = checked_on_error(on_error, has_others=False)
        self.on_dead = checked_on_dead(on_dead)
        self.retry = checked_retry(retry)
        arguments: dict[str, Any] = {"op_args": op_args, "op_kwargs": op_kwargs}
        if not op_args and not op_kwargs:
            raise InvalidArgumentError(_no_value(python_callable.__name__))
        super().__init__(
            kwargs_to_upstream={"python_callable": python_callable, **arguments},
            python_callable=python_callable,
            **arguments,
            **kwargs,
        )

    def execute_callable(self) -> Any:
        """Call the function with messages in the place of exclusive values; return its result."""
        arguments = HandedOver(self.op_args, self.op_kwargs)
        if not arguments.values:
            raise InvalidArgumentError(_no_value(self.task_id))
        named = self.xclaim_conn_id
        with consume_values(
            arguments.values,
            connections=[named] if isinstance(named, str) else list(named),
            lease=self.lease,
            lease_limit=self.lease_limit,
            retry=self.retry,
            on_error=self.on_error,
            on_dead=self.on_dead,
        ) as claims:
            if any(claims):
                given = self.op_args, self.op_kwargs
                self.op_args, self.op_kwargs = arguments.filled_in(claims)
                try:
                    return checked_result(self.task_id, super().execute_callable())
                finally:  # what looks at the task afterwards, a listener say, finds no payload
                    self.op_args, self.op_kwargs = given
        return end_with(self.on_empty, "an earlier try has consumed what there was to claim")


def _no_value(name: str) -> str:
    return (
        f"{name} is passed no exclusive value: pass it what a task returned as exclusive(value), "
        "or name a queue with @task.exclusive(queue_name=...); queue=... is Airflow's own, for the "
        "workers on which the task runs"
    )


@overload
def exclusive_task(  # type: ignore[overload-overlap]  # 1 is an int, too
    *, queue_name: str, batch: Literal[1] = ..., **options: Unpack[QueueOptions]
) -> DecoratesMessage: ...
@overload
def exclusive_task(
    *, queue_name: str, batch: int, **options: Unpack[QueueOptions]
) -> DecoratesMessages: ...
@overload
def exclusive_task(
    *, queue_name: str, argument: str, batch: int = ..., **options: Unpack[QueueOptions]
) -> DecoratesAny: ...
@overload
def exclusive_task(
    *, queue_name: None = ..., **options: Unpack[HandOverOptions]
) -> DecoratesAny: ...
@overload
def exclusive_task(python_callable: Callable[..., R], /) -> Task[..., R]: ...
def exclusive_task(
    python_callable: Callable[..., Any] | None = None,
    multiple_outputs: bool | None = None,  # noqa: FBT001  (as Airflow's own decorators have it)
    *,
    queue_name: str | None = None,
    **kwargs: Any,
) -> Any:
    """Make a task of a function that gets a message which nobody else has.

    With ``queue_name`` it gets the next message of that queue. Without, it is called with what
    other tasks returned as ``exclusive(value)``, and gets the messages of these. ``queue`` is
    Airflow's own, as in any task: on which workers it runs.

    :param python_callable: the function.
    :param multiple_outputs: whether to unroll a returned dict into several XComs; not of a drain,
        which returns a list.
    :param queue_name: the queue's name. (templated)
    :param kwargs: of ExclusiveDecoratedOperator or HandOverDecoratedOperator, and of any operator.
    """
    if queue_name is None:
        return hand_over_task(python_callable, multiple_outputs, **kwargs)
    decorate = task_decorator_factory(
        multiple_outputs=multiple_outputs,
        decorated_operator_class=ExclusiveDecoratedOperator,
        queue_name=queue_name,
        **kwargs,
    )

    def decorate_checked(function: Callable[..., Any]) -> Any:
        # Here, because a mapped task makes its operator only when it runs.
        batch = whole_number("batch", kwargs.get("batch", 1), 1, MAX_LIMIT)
        checked_argument(function, kwargs.get("argument"), batch)
        drain = kwargs.get("drain", False)
        _check_choices(kwargs, has_others=drain or batch > 1)
        checked_max_seconds(kwargs.get("max_seconds"), drain=drain)
        if drain and multiple_outputs:
            raise InvalidArgumentError(
                "multiple_outputs is for a dict, and drain=True returns a list: leave one out"
            )
        return decorate(function)

    return decorate_checked if python_callable is None else decorate_checked(python_callable)


def hand_over_task(
    python_callable: Callable[..., Any] | None = None,
    multiple_outputs: bool | None = None,  # noqa: FBT001  (as Airflow's own decorators have it)
    **kwargs: Any,
) -> Any:
    """Make a task of a function that gets the messages of the exclusive values it is passed.

    :param python_callable: the function.
    :param multiple_outputs: whether to unroll a returned dict into several XComs.
    :param kwargs: of HandOverDecoratedOperator, and of any operator.
    """
    of_queues = sorted(set(_OF_QUEUES) & kwargs.keys())
    if of_queues:
        raise InvalidArgumentError(
            f"{', '.join(of_queues)} of @task.exclusive needs queue_name=...: without it the "
            "function gets the messages of the exclusive values it is passed"
        )
    _check_choices(kwargs, has_others=False)
    decorate = task_decorator_factory(
        multiple_outputs=multiple_outputs,
        decorated_operator_class=HandOverDecoratedOperator,
        **kwargs,
    )

    def decorate_checked(function: Callable[..., Any]) -> Any:
        check_plain(function)
        return decorate(function)

    return decorate_checked if python_callable is None else decorate_checked(python_callable)


def _check_choices(options: Mapping[str, Any], *, has_others: bool) -> None:
    checked_on_empty(options.get("on_empty", OnEmpty.SKIP))
    checked_on_error(options.get("on_error", OnError.RETRY), has_others=has_others)
    checked_on_dead(options.get("on_dead", OnDead.FAIL))
    checked_retry(options.get("retry", RETRY))
    seconds("lease", options.get("lease", LEASE))
    seconds("lease_limit", options.get("lease_limit", LEASE_LIMIT))


def check_plain(function: Callable[..., Any]) -> None:
    """Raise InvalidArgumentError for an async function, or an async generator.

    :param function: of the task.
    """
    wrapped = inspect.unwrap(function)
    if inspect.iscoroutinefunction(wrapped) or inspect.isasyncgenfunction(wrapped):
        shown = getattr(function, "__name__", repr(function))
        raise InvalidArgumentError(f"{shown} is async: @task.exclusive takes a plain function")


def checked_result(task_id: str, result: Any) -> Any:
    """Return what the function returned; raise InvalidArgumentError if its work is still to come.

    The message would be acked before it. Airflow itself runs generator functions to their end, but
    not those that something is wrapped around.

    :param task_id: of the task.
    :param result: what the function returned.
    """
    if not isinstance(result, Awaitable | Generator | AsyncGenerator):
        return result
    if inspect.iscoroutine(result):
        result.close()  # else Python warns that nobody awaits it
    raise InvalidArgumentError(
        f"the function of {task_id} returned a {type(result).__name__}, of which nothing is done "
        "yet, and its message is acked when it returns: do the work in the function, and return "
        "what came of it"
    )


def checked_argument(function: Callable[..., Any], argument: str | None, batch: int) -> str:
    """Return the name of the parameter that gets the message; raise InvalidArgumentError if none.

    :param function: which is to have it.
    :param argument: its name; by default ``message``, of a batch ``messages``.
    :param batch: how many messages a call gets.
    """
    name = argument or ("message" if batch == 1 else "messages")
    shown = getattr(function, "__name__", repr(function))
    check_plain(function)
    if name in KNOWN_CONTEXT_KEYS:
        raise InvalidArgumentError(
            f"argument={name!r} is a key of Airflow's context, which fills it in itself: "
            "name another parameter"
        )
    parameters = inspect.signature(function).parameters
    takes_any = any(item.kind is item.VAR_KEYWORD for item in parameters.values())
    if name not in parameters and not takes_any:
        raise InvalidArgumentError(
            f"{shown}({', '.join(parameters)}) has no parameter {name!r} for the message: add it, "
            "or name yours with @task.exclusive(argument=...)"
        )
    return name


def checked_max_seconds(value: Any, *, drain: bool) -> float | None:
    """Return the time limit; raise InvalidArgumentError if it is none, or limits nothing.

    :param value: seconds.
    :param drain: whether there is a loop to limit.
    """
    if value is None:
        return None
    if not isinstance(value, int | float) or value <= 0:
        raise InvalidArgumentError(f"max_seconds must be a positive number, not {value!r}")
    if not drain:
        raise InvalidArgumentError(
            f"max_seconds={value!r} limits drain=True only; for one call use execution_timeout"
        )
    return value
