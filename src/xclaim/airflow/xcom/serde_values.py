"""Read what Airflow's serde wrote into a message, which anybody may have written who pushes there.

Airflow itself reads its XComs more freely: it imports and calls every class below ``airflow.``. Of
a message nothing is imported that the user has not allowed, and no constructor runs: dataclasses
and attrs classes are made as they were. Of a class that is allowed its own ``deserialize`` is
called, and a pydantic model validates.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from dataclasses import is_dataclass
from fnmatch import fnmatchcase
from functools import cache
from importlib import import_module
from typing import Any

from xclaim.errors import PayloadCorruptedError, PayloadRefusedError
from xclaim.payloads.codecs.allowed_types import Allowed
from xclaim.payloads.codecs.collisions import (
    MOST_ALIKE,
    collide,
    lists_collide,
    numbers_collide,
)

_CLASS, _VERSION, _DATA = "__classname__", "__version__", "__data__"
# What Airflow allows if nobody says otherwise: that is Airflow's choice, and not the user's.
_BY_DEFAULT = "airflow.*"
# Serializers of Airflow whose values are plain values of Python, pendulum and numpy.
_PLAIN = ("bignum", "builtin", "datetime", "numpy", "timezone", "uuid")
_OF_AIRFLOW = (
    "airflow.sdk.definitions.asset.Asset",
    "airflow.sdk.definitions.asset.AssetAlias",
    "airflow.sdk.definitions.asset.access_control.AssetAccessControl",
)
_SETS = ("builtins.set", "builtins.frozenset")
_MOST_SHOWN = 120


def value_of(serialized: Any) -> Any:
    """Return the value. Raise PayloadRefusedError if it names a class that is not allowed here.

    :param serialized: as Airflow's serde returned it, and as JSON gave it back.
    """
    if isinstance(serialized, list):
        return [value_of(each) for each in serialized]
    if not isinstance(serialized, dict):
        return serialized
    if _CLASS not in serialized or _VERSION not in serialized:
        return {name: value_of(each) for name, each in serialized.items()}
    name, version = serialized[_CLASS], serialized[_VERSION]
    if type(name) is not str or type(version) is not int:
        raise ValueError(f"{_CLASS} or {_VERSION} is not as Airflow's serde writes them")
    make, values = _maker(name), value_of(serialized.get(_DATA))
    if name in _SETS:
        _refuse_if(collide(values))
    return make(version, values)


def _refuse_if(is_slow: bool) -> None:  # noqa: FBT001  (its only argument)
    if is_slow:
        raise PayloadCorruptedError(
            f"payload has more than {MOST_ALIKE} elements of the same hash, which would make a set "
            "slow: they were chosen for it"
        )


def _maker(name: str) -> Callable[[int, Any], Any]:
    """Return what makes an instance of the class of its version and its values."""
    from xclaim.airflow.versions import serde

    registered = serde._deserializers.get(name)  # noqa: SLF001  (there is no public way)
    is_plain = registered is not None and registered.__name__.rpartition(".")[2] in _PLAIN
    if not is_plain and name not in _OF_AIRFLOW and not _is_allowed(name):
        raise PayloadRefusedError(
            f"the payload names the class {name[:_MOST_SHOWN]}, which is not allowed here: add it "
            "to [core] allowed_deserialization_classes of Airflow where it is read (what is there "
            f"by default, {_BY_DEFAULT}, does not count)"
        )
    kind = _class_named(name)
    if registered is not None:
        return lambda version, values: registered.deserialize(kind, version, values)
    return _maker_of(kind)


def _maker_of(kind: type) -> Callable[[int, Any], Any]:
    from xclaim.airflow.versions import is_pydantic_model, pydantic_serializer

    if is_pydantic_model(kind):
        return lambda version, values: pydantic_serializer.deserialize(
            kind, version, _checked(values)
        )
    if hasattr(kind, "deserialize"):  # the class's own way, and the user has allowed the class
        return lambda version, values: kind.deserialize(values, version)
    if is_dataclass(kind):
        return lambda _, values: Allowed().dataclass_of(kind, values)
    if hasattr(kind, "__attrs_attrs__"):
        return lambda _, values: _attrs_instance(kind, values)
    raise PayloadRefusedError(
        f"the payload names the class {kind.__qualname__}, which is no dataclass, attrs class or "
        "pydantic model here: deploy the version that pushed it, or release the message"
    )


def _checked(values: Any) -> Any:
    """Return the values of a model, which makes sets of lists as it validates."""
    _refuse_if(numbers_collide(values) or lists_collide(values))
    return values


def _attrs_instance(kind: Any, values: dict[str, Any]) -> Any:
    import attr

    declared = {field.name: field for field in attr.fields(kind)}
    if unknown := values.keys() - declared.keys():
        raise ValueError(f"{kind.__qualname__} has no field {min(unknown)[:_MOST_SHOWN]!r}")
    instance = object.__new__(kind)
    for name, field in declared.items():
        object.__setattr__(instance, name, values[name] if name in values else _default_of(field))
    return instance


def _default_of(field: Any) -> Any:
    import attr

    if isinstance(field.default, attr.Factory) and not field.default.takes_self:  # type: ignore[arg-type]
        return field.default.factory()
    if field.default is attr.NOTHING or isinstance(field.default, attr.Factory):  # type: ignore[arg-type]
        raise ValueError(f"the field {field.name!r} is missing")
    return field.default


def _class_named(name: str) -> type:
    """Return the class of an allowed name. Raise PayloadRefusedError if there is none of it."""
    from xclaim.airflow.versions import serde

    module_name, _, class_name = name.rpartition(".")
    try:
        module = sys.modules.get(module_name) or import_module(module_name)
    except (ImportError, ValueError) as error:
        raise PayloadRefusedError(
            f"the payload names the class {name[:_MOST_SHOWN]}, whose module cannot be imported "
            f"here ({type(error).__name__}): install it where the payload is read"
        ) from error
    found = vars(module).get(class_name)  # not getattr(), which may run code
    # What a module imported from elsewhere is not its own. Airflow knows some under other names.
    is_own = isinstance(found, type) and name == f"{found.__module__}.{found.__qualname__}"
    if not isinstance(found, type) or not (is_own or name in serde._deserializers):  # noqa: SLF001
        raise PayloadRefusedError(
            f"the payload names the class {name[:_MOST_SHOWN]}, which is none of that module here: "
            "deploy the version that pushed it, or release the message"
        )
    return found


def _is_allowed(name: str) -> bool:
    from xclaim.airflow.versions import serde

    # A wildcard does not import a `__main__`: that would run a program.
    module = name.rpartition(".")[0]
    if module not in sys.modules and any(step.startswith("__") for step in module.split(".")):
        return False
    by_code = serde._extra_allowed - serde._deserializers.keys()  # noqa: SLF001  (of allow_class)
    patterns, expressions = _patterns()
    return (
        name in by_code
        or any(fnmatchcase(name, pattern) for pattern in patterns)
        or any(expression.fullmatch(name) for expression in expressions)
    )


@cache
def _patterns() -> tuple[list[str], list[re.Pattern[str]]]:
    from xclaim.airflow.versions import conf

    patterns = conf.get("core", "allowed_deserialization_classes", fallback="").split()
    expressions = conf.get("core", "allowed_deserialization_classes_regexp", fallback="").split()
    said = [pattern for pattern in patterns if pattern != _BY_DEFAULT]
    return said, [re.compile(expression) for expression in expressions]
