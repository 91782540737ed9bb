"""What differs between the versions of Airflow, 3.1, 3.2 and 3.3, in one place.

A name is looked up when it is first asked for, where the newest version has it and then where older
ones have it, so that to import this module costs nothing. docs/adr/0037 says why
``airflow.providers.common.compat.sdk`` does not do.
"""

from __future__ import annotations

import re
import sys
from functools import cache
from importlib import import_module
from math import inf
from typing import TYPE_CHECKING, Any

import airflow

if TYPE_CHECKING:  # as the newest version has them
    from types import ModuleType

    from airflow.observability.stats import Stats as ServerStats
    from airflow.sdk import serde
    from airflow.sdk.configuration import conf
    from airflow.sdk.exceptions import (
        AirflowException,
        AirflowFailException,
        AirflowNotFoundException,
        AirflowRescheduleException,
        AirflowSensorTimeout,
        AirflowSkipException,
        AirflowTaskTerminated,
        TaskDeferralError,
        TaskDeferred,
    )
    from airflow.sdk.lineage import HookLineageCollector, get_hook_lineage_collector
    from airflow.sdk.observability.stats import Stats
    from airflow.sdk.plugins_manager import AirflowPlugin
    from airflow.sdk.serde.serializers import pydantic as pydantic_serializer
    from airflow.sdk.serde.typing import is_pydantic_model

__all__ = [
    "AirflowException",
    "AirflowFailException",
    "AirflowNotFoundException",
    "AirflowPlugin",
    "AirflowRescheduleException",
    "AirflowSensorTimeout",
    "AirflowSkipException",
    "AirflowTaskTerminated",
    "HookLineageCollector",
    "ServerStats",
    "Stats",
    "TaskDeferralError",
    "TaskDeferred",
    "allow_class",
    "async_method",
    "conf",
    "get_hook_lineage_collector",
    "get_hook_lineage_readers_plugins",
    "is_pydantic_model",
    "made_collector",
    "program",
    "pydantic_serializer",
    "serde",
    "serialized_by_name",
]

_OLDEST = (3, 1)
_COMMANDS_SINCE = (3, 2)
_EXCEPTIONS = ("airflow.sdk.exceptions", "airflow.exceptions")
_LINEAGE = ("airflow.sdk.lineage", "airflow.lineage.hook")
# Which modules have a name: the newest version's first, that of 3.1 last.
_PLACES = {
    "AirflowException": _EXCEPTIONS,
    "AirflowFailException": _EXCEPTIONS,
    "AirflowNotFoundException": _EXCEPTIONS,
    "AirflowPlugin": ("airflow.sdk.plugins_manager", "airflow.plugins_manager"),
    "AirflowRescheduleException": _EXCEPTIONS,
    "AirflowSensorTimeout": _EXCEPTIONS,
    "AirflowSkipException": _EXCEPTIONS,
    "AirflowTaskTerminated": _EXCEPTIONS,
    "ExceptionRetryPolicy": ("airflow.sdk.definitions.retry_policy",),  # 3.3 only
    "HookLineageCollector": _LINEAGE,
    "ServerStats": ("airflow.observability.stats", "airflow.stats"),
    "Stats": ("airflow.sdk.observability.stats", "airflow.stats"),  # of tasks
    "TaskAwaitingInput": _EXCEPTIONS,  # 3.3 only
    "TaskDeferralError": _EXCEPTIONS,
    "TaskDeferred": _EXCEPTIONS,
    "conf": ("airflow.sdk.configuration", "airflow.configuration"),
    "get_hook_lineage_collector": _LINEAGE,
    "is_pydantic_model": ("airflow.sdk.serde.typing", "airflow.serialization.typing"),
}
# What is called otherwise there: tasks and the API server have each their own of that name.
_CALLED = {"ServerStats": "Stats"}
# The same for what is a module itself.
_MODULES = {
    "pydantic_serializer": (
        "airflow.sdk.serde.serializers.pydantic",
        "airflow.serialization.serializers.pydantic",
    ),
    "serde": ("airflow.sdk.serde", "airflow.serialization.serde"),
}


def _look_up(name: str) -> Any:
    """Return what this Airflow has under the name, wherever it has it."""
    if name in _MODULES:
        return _module_of(name, None)
    if name in _PLACES:
        attribute = _CALLED.get(name, name)
        return getattr(_module_of(name, attribute), attribute)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


if not TYPE_CHECKING:  # which takes any name for one of this module's
    __getattr__ = _look_up


def allow_class(kind: type) -> None:
    """Let Airflow's serde read instances of a class in this process.

    :param kind: the class.
    """
    serde = _look_up("serde")
    if hasattr(serde, "allow_class"):
        serde.allow_class(kind)
    else:  # before 3.3 there is no public way
        serde._extra_allowed.add(f"{kind.__module__}.{kind.__qualname__}")  # noqa: SLF001


def serialized_by_name(kind: type) -> bool:
    """Return whether Airflow's serde has a serializer of its own for a class.

    :param kind: the class.
    """
    name = f"{kind.__module__}.{kind.__qualname__}"
    return name in _look_up("serde")._serializers  # noqa: SLF001  (there is no public way)


def get_hook_lineage_readers_plugins() -> list[type]:
    """Return the classes that read hook lineage here; without any the collector does nothing."""
    try:
        from airflow.sdk import plugins_manager
    except ImportError:
        return _readers_of_3_1()
    return list(plugins_manager.get_hook_lineage_readers_plugins())


def made_collector() -> HookLineageCollector | None:
    """Return the collector of hook lineage if there is one already: to make one is dear."""
    module = next((sys.modules[place] for place in _LINEAGE if place in sys.modules), None)
    if module is None:
        return None
    function = module.get_hook_lineage_collector
    if function.__module__ != module.__name__:  # somebody has put in their own, a test say
        is_made = True
    elif hasattr(function, "cache_info"):
        is_made = bool(function.cache_info().currsize)
    else:
        is_made = module._hook_lineage_collector is not None  # noqa: SLF001  (of 3.1)
    return function() if is_made else None


def async_method(xcoms: type, name: str) -> Any:
    """Return the asynchronous method of XComs; before 3.3 the other one, called off the loop.

    :param xcoms: Airflow's class, or one that inherits from it.
    :param name: of the synchronous method.
    """
    if hasattr(xcoms, f"a{name}"):
        return getattr(xcoms, f"a{name}")
    from asgiref.sync import sync_to_async

    return sync_to_async(getattr(xcoms, name))


def program() -> str:
    """Return what the commands of xclaim begin with: 3.1 asks no provider for commands."""
    if _numbers(getattr(airflow, "__version__", None)) < _COMMANDS_SINCE:
        return "python -m xclaim.airflow"
    return "airflow xclaim"


def check(version: str | None) -> None:
    """Raise ImportError if this is an Airflow that xclaim cannot work with.

    :param version: Airflow's; None where there is only its task SDK.
    """
    if _numbers(version) < _OLDEST:
        raise ImportError(
            f"xclaim needs Apache Airflow 3.1 or later, and this is {version}: Airflow 2 and 3.0 "
            "ask for an SQLAlchemy below 2, which cannot speak to PostgreSQL through psycopg 3"
        )


def _numbers(version: str | None) -> tuple[float, ...]:
    found = re.match(r"(\d+)\.(\d+)", version or "")
    return tuple(map(int, found.groups())) if found else (inf,)  # without core: a later one


@cache
def _module_of(name: str, attribute: str | None) -> ModuleType:
    for place in (_MODULES if attribute is None else _PLACES)[name]:
        try:
            module = import_module(place)
        except ModuleNotFoundError as error:
            if not place.startswith(str(error.name)):  # it is there, and lacks something itself
                raise
            continue
        if attribute is None or hasattr(module, attribute):
            return module
    raise AttributeError(f"this Airflow has no {name}")


def _readers_of_3_1() -> list[type]:
    manager = import_module("airflow.plugins_manager")
    manager.initialize_hook_lineage_readers_plugins()
    return list(manager.hook_lineage_reader_classes or [])


check(getattr(airflow, "__version__", None))
