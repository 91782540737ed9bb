"""The Airflow side of xclaim: everything here may import airflow, nothing else may.

>>> from xclaim.airflow import exclusive_task  # ``@task.exclusive``, for type checkers too
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from xclaim.airflow.decorators import exclusive_task
    from xclaim.airflow.hooks import XclaimHook

# Loaded on first use (PEP 562): Airflow imports this package in each of its processes.
_MODULE_OF = {"XclaimHook": "hooks", "exclusive_task": "decorators"}

__all__ = ["XclaimHook", "exclusive_task"]


def _load(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'xclaim.airflow' has no attribute {name!r}")
    value = getattr(import_module(f"xclaim.airflow.{_MODULE_OF[name]}"), name)
    globals()[name] = value
    return value


if not TYPE_CHECKING:  # which takes any name for one of this package's
    __getattr__ = _load


def __dir__() -> list[str]:
    return __all__
