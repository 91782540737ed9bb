"""The span of the work on a message as the current one, wherever that work ends.

``detach`` of OpenTelemetry takes a token that is of one context of Python: where a generator is
closed in another one, by another thread or by the garbage collector, it logs an error. And what
two streams of one thread make current does not end in the order of a stack. So nothing is detached
here. A context says itself that it is over, and then it is the one before. It is over as well when
nobody is left who could leave it: an interrupt may strike between any two lines.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any
from weakref import ref

from opentelemetry.context import attach, get_current
from opentelemetry.context.context import Context


class WorkContext(Context):
    """The context of some work while that goes on, and then the one before it.

    It goes on for as long as its ``owner`` is there and has not left it.
    """

    def __init__(self, values: Context, before: Context, owner: object) -> None:
        super().__init__(values)
        self._before = before
        self._owner = ref(owner)
        self._is_left = False

    @property
    def is_over(self) -> bool:
        """Whether the work has ended."""
        return self._is_left or self._owner() is None

    def leave(self) -> None:
        """Note that the work has ended."""
        self._is_left = True

    def before(self) -> Context:
        """Return the context in which the work began, or the last one before that still goes on."""
        return going_on(self._before)

    def get(self, key: str, default: Any = None) -> Any:
        """Return a value of the work, or of the context before when it is over."""
        if self.is_over:
            return self.before().get(key, default)
        return super().get(key, default)

    def copy(self) -> dict[str, object]:
        """Return what the context says now, as whoever adds a value to it takes it."""
        return self.before().copy() if self.is_over else super().copy()


_entered: ContextVar[WorkContext | None] = ContextVar("xclaim_work", default=None)


def going_on(context: Context) -> Context:
    """Return the context, or what was there before it when its work is over."""
    while isinstance(context, WorkContext) and context.is_over:
        context = context._before  # noqa: SLF001  (of the same class)
    return context


def here() -> Context:
    """Return the current context."""
    return going_on(get_current())


def enter(values: Context, owner: object) -> WorkContext:
    """Make a context current, until ``leave``, or until its owner is gone."""
    context = WorkContext(values, here(), owner)
    attach(context)
    _entered.set(context)
    return context


def leave(context: WorkContext) -> None:
    """Put back what was current before, in whichever thread or task that is called, once or twice.

    What the block has made current itself, and has not put back, ends with it.
    """
    context.leave()
    if _entered.get() is not context:
        return  # this is another context of Python, or other work has begun since
    before = context.before()
    attach(before)
    _entered.set(before if isinstance(before, WorkContext) else None)
