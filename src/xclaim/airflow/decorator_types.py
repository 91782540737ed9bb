"""What type checkers know of ``exclusive_task``: its options, and which functions it takes.

Nobody imports this when a program runs. The function is asked for a parameter ``message``, of a
batch ``messages``; in its call that parameter is left out. What else the call has is not checked,
because it may be the output of another task in the place of any value.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, MutableMapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Concatenate, Literal, Protocol, TypedDict, TypeVar, overload

from airflow.sdk import DAG, Context, TaskGroup
from airflow.sdk.bases.decorator import Task

from xclaim.message import Message
from xclaim.retry import Retry

R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)

_Callback = Callable[[Context], Any]
_Callbacks = _Callback | Collection[_Callback] | None


class TaskOptions(TypedDict, total=False):
    """What any task of a Python function takes, in the Airflow versions there are."""

    multiple_outputs: bool | None
    templates_dict: dict[str, Any] | None
    templates_exts: Sequence[str] | None
    show_return_value_in_logs: bool
    task_id: str
    owner: str
    email: str | Sequence[str] | None
    email_on_retry: bool
    email_on_failure: bool
    retries: int | None
    retry_delay: timedelta | float
    retry_exponential_backoff: float
    max_retry_delay: timedelta | float | None
    retry_policy: Any
    start_date: datetime | None
    end_date: datetime | None
    depends_on_past: bool
    ignore_first_depends_on_past: bool
    wait_for_past_depends_before_skipping: bool
    wait_for_downstream: bool
    dag: DAG | None
    params: MutableMapping[str, Any] | None
    default_args: dict[str, Any] | None
    priority_weight: int
    weight_rule: Any
    queue: str
    pool: str | None
    pool_slots: int
    sla: timedelta | None
    execution_timeout: timedelta | None
    on_execute_callback: _Callbacks
    on_failure_callback: _Callbacks
    on_success_callback: _Callbacks
    on_retry_callback: _Callbacks
    on_skipped_callback: _Callbacks
    pre_execute: Callable[[Context], Any] | None
    post_execute: Callable[[Context, Any], Any] | None
    trigger_rule: str
    resources: dict[str, Any] | None
    run_as_user: str | None
    map_index_template: str | None
    max_active_tis_per_dag: int | None
    max_active_tis_per_dagrun: int | None
    executor: str | None
    executor_config: dict[str, Any] | None
    do_xcom_push: bool
    inlets: Any
    outlets: Any
    task_group: TaskGroup | None
    doc: str | None
    doc_md: str | None
    doc_json: str | None
    doc_yaml: str | None
    doc_rst: str | None
    task_display_name: str | None
    logger_name: str | None
    allow_nested_operators: bool
    render_template_as_native_obj: bool | None


class _ExclusiveOptions(TaskOptions, total=False):
    lease: timedelta
    lease_limit: timedelta
    on_empty: Literal["skip", "succeed", "fail"]
    on_dead: Literal["fail", "ignore"]
    retry: Retry


class QueueOptions(_ExclusiveOptions, total=False):
    """What a task of a queue takes besides its name and how it gets its messages."""

    on_error: Literal["retry", "release", "continue"]
    drain: bool
    max_seconds: float | None
    xclaim_conn_id: str


class HandOverOptions(_ExclusiveOptions, total=False):
    """What a task takes that is passed exclusive values."""

    on_error: Literal["retry", "release"]
    xclaim_conn_id: str | Collection[str]


# For pyright: a parameter of this name, wherever it stands. To mypy this is another function.
class _ByMessageName(Protocol[R_co]):
    def __call__(self, *args: Any, message: Message[Any], **kwargs: Any) -> R_co: ...


class _ByMessagesName(Protocol[R_co]):
    def __call__(self, *args: Any, messages: list[Message[Any]], **kwargs: Any) -> R_co: ...


# For mypy: a keyword, or one of any keywords.
class _WithMessageOnly(Protocol[R_co]):
    def __call__(self, *, message: Message[Any]) -> R_co: ...


class _WithMessagesOnly(Protocol[R_co]):
    def __call__(self, *, messages: list[Message[Any]]) -> R_co: ...


class DecoratesMessage(Protocol):
    """``@exclusive_task(queue_name="orders")``: one of three parameters is the message."""

    @overload
    def __call__(
        self, function: Callable[Concatenate[Message[Any], ...], R], /
    ) -> Task[..., R]: ...
    @overload
    def __call__(
        self, function: Callable[Concatenate[Any, Message[Any], ...], R], /
    ) -> Task[..., R]: ...
    @overload
    def __call__(
        self, function: Callable[Concatenate[Any, Any, Message[Any], ...], R], /
    ) -> Task[..., R]: ...
    @overload
    def __call__(self, function: _ByMessageName[R], /) -> Task[..., R]: ...
    @overload
    def __call__(self, function: _WithMessageOnly[R], /) -> Task[..., R]: ...


class DecoratesMessages(Protocol):
    """``@exclusive_task(queue_name="orders", batch=10)``: the same, of a list."""

    @overload
    def __call__(
        self, function: Callable[Concatenate[list[Message[Any]], ...], R], /
    ) -> Task[..., R]: ...
    @overload
    def __call__(
        self, function: Callable[Concatenate[Any, list[Message[Any]], ...], R], /
    ) -> Task[..., R]: ...
    @overload
    def __call__(
        self, function: Callable[Concatenate[Any, Any, list[Message[Any]], ...], R], /
    ) -> Task[..., R]: ...
    @overload
    def __call__(self, function: _ByMessagesName[R], /) -> Task[..., R]: ...
    @overload
    def __call__(self, function: _WithMessagesOnly[R], /) -> Task[..., R]: ...


class DecoratesAny(Protocol):
    """With ``argument="order"``, or without a queue: what the function takes is not known."""

    def __call__(self, function: Callable[..., R], /) -> Task[..., R]:
        """Make a task of the function."""


__all__ = [
    "DecoratesAny",
    "DecoratesMessage",
    "DecoratesMessages",
    "HandOverOptions",
    "QueueOptions",
    "TaskOptions",
]
