"""What a dashboard, a scrape or a person sees of queues: bounded questions, and values to show."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from xclaim.observing.observer import Observer

__all__ = ["Observer"]


def __getattr__(name: str) -> Any:
    if name != "Observer":
        raise AttributeError(f"module 'xclaim.observing' has no attribute {name!r}")
    from xclaim.observing.observer import Observer

    globals()[name] = Observer
    return Observer


def __dir__() -> list[str]:
    return __all__
