"""The XCom backend, ``exclusive()``, and the cleaning of objects that XComs have left behind.

``[core] xcom_backend = xclaim.airflow.xcom.XclaimXComBackend``
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from xclaim.airflow.xcom.backend import XclaimXComBackend
    from xclaim.airflow.xcom.cleaning import clean_xcoms
    from xclaim.airflow.xcom.exclusive_values import (
        ExclusiveValue,
        ExclusiveValueLostError,
        exclusive,
    )

# Loaded on first use: a DAG file that names exclusive() does not load the backend.
_MODULE_OF = {
    "ExclusiveValue": "exclusive_values",
    "ExclusiveValueLostError": "exclusive_values",
    "XclaimXComBackend": "backend",
    "clean_xcoms": "cleaning",
    "exclusive": "exclusive_values",
}

__all__ = [
    "ExclusiveValue",
    "ExclusiveValueLostError",
    "XclaimXComBackend",
    "clean_xcoms",
    "exclusive",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
