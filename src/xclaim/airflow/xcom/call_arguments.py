"""The exclusive values among the arguments of a call, and the call with their messages instead."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

from xclaim.airflow.xcom.exclusive_values import ExclusiveValue, ExclusiveValueLostError

if TYPE_CHECKING:
    from xclaim import Claim, Message

Messages = Mapping[ExclusiveValue, "Message | None"]


class HandedOver:
    """``values`` are those that are arguments, or stand in one that is a list or a dict."""

    def __init__(self, args: Collection[Any], kwargs: Mapping[str, Any]) -> None:
        self._args = [_unrolled(argument) for argument in args]
        self._kwargs = {name: _unrolled(argument) for name, argument in kwargs.items()}
        arguments = chain(self._args, self._kwargs.values())
        found = chain.from_iterable(_values_in(argument) for argument in arguments)
        self.values = list(dict.fromkeys(found))  # one message, however often it is passed

    def filled_in(self, claims: Sequence[Claim | None]) -> tuple[list[Any], dict[str, Any]]:
        """Return the arguments with messages; lists and dicts without those that have no claim.

        :param claims: of ``values``; None for what an earlier try of the task has consumed.
        :raises ExclusiveValueLostError: an argument of its own has no claim.
        """
        found = [None if claim is None else claim.message for claim in claims]
        messages = dict(zip(self.values, found, strict=True))
        args = [_with_messages(argument, messages) for argument in self._args]
        return args, {name: _with_messages(each, messages) for name, each in self._kwargs.items()}


def _unrolled(argument: Any) -> Any:
    """Return the list of what mapped tasks returned; it is asked for once, not for each look."""
    from airflow.sdk.execution_time.lazy_sequence import LazyXComSequence

    return list(argument) if isinstance(argument, LazyXComSequence) else argument


def _values_in(argument: Any) -> Iterator[ExclusiveValue]:
    items: Any = (argument,)
    if isinstance(argument, list | tuple):
        items = argument
    elif isinstance(argument, dict):
        items = argument.values()
    return (item for item in items if isinstance(item, ExclusiveValue))


def _with_messages(argument: Any, messages: Messages) -> Any:
    if isinstance(argument, ExclusiveValue):
        return _message_of(argument, messages)
    if not any(_values_in(argument)):
        return argument
    if isinstance(argument, dict):
        pairs = ((name, _or_itself(item, messages)) for name, item in argument.items())
        return {name: item for name, item in pairs if item is not _CONSUMED}
    items = (_or_itself(item, messages) for item in argument)
    return [item for item in items if item is not _CONSUMED]


def _message_of(value: ExclusiveValue, messages: Messages) -> Message:
    message = messages[value]
    if message is None:
        raise ExclusiveValueLostError(
            value, "was consumed by an earlier try of this task, as others of its values were not"
        )
    return message


_CONSUMED = object()


def _or_itself(item: Any, messages: Messages) -> Any:
    if not isinstance(item, ExclusiveValue):
        return item
    message = messages[item]
    return _CONSUMED if message is None else message
