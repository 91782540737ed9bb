"""Write what is public to docs/api, one line for each name with its parameters and defaults.

Run `python -m tests.api_docs` after changing a public name or signature; a test compares. Public is
what the modules listed here have in `__all__`, or define without an underscore where there is none.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from functools import cached_property
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

FOLDER = Path(__file__).parents[1] / "docs" / "api"
MODULES = {
    "xclaim": (
        "xclaim",
        "xclaim.connections.events",
        "xclaim.embedded",
        "xclaim.observing",
        "xclaim.observing.values",
        "xclaim.operations.audit",
        "xclaim.operations.doctor",
        "xclaim.operations.grants",
        "xclaim.operations.migrate",
        "xclaim.operations.orphans",
        "xclaim.operations.rotation",
        "xclaim.telemetry",
        "xclaim.verb",
        "xclaim.web",
    ),
    "airflow": (
        "xclaim.airflow",
        "xclaim.airflow.decorators",
        "xclaim.airflow.hooks",
        "xclaim.airflow.operators",
        "xclaim.airflow.sensors",
        "xclaim.airflow.tasks.task_queue",
        "xclaim.airflow.triggers",
        "xclaim.airflow.xcom",
    ),
}


def path_of(page: str) -> Path:
    """Return the file of a page."""
    return FOLDER / f"{page}.txt"


def text_of(page: str) -> str:
    """Return what the file has to say."""
    header = "The public names of xclaim; written by `python -m tests.api_docs`.\n"
    return header + "".join(
        f"\n{name}\n" + "".join(f"    {line}\n" for line in _lines(import_module(name)))
        for name in MODULES[page]
    )


def objects(page: str) -> Iterator[tuple[str, Any]]:
    """Yield every public class, function, method and property of a page, with its full name."""
    for module_name in MODULES[page]:
        module = import_module(module_name)
        for name in public_names(module):
            value = getattr(module, name)
            if _is_ours(value):
                yield f"{module_name}.{name}", value
                for member, found in members_of(value).items():
                    if parameters(found) is not None or _is_property(found):
                        yield f"{module_name}.{name}.{member}", found


def parameters(value: Any) -> str | None:
    """Return the parameters with their defaults, without types; None for what is not called."""
    function = value.__func__ if isinstance(value, classmethod | staticmethod) else value
    if inspect.isclass(function) or not (callable(function) or hasattr(function, "__get__")):
        return None
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return None
    bare = [
        each.replace(annotation=each.empty, default=_shown(each.default))
        for each in signature.parameters.values()
    ]
    return str(signature.replace(parameters=bare, return_annotation=signature.empty))


class _Name:
    """Stands for a function, whose own text has an address in it."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __repr__(self) -> str:
        return self._name


def _shown(default: Any) -> Any:
    return _Name(default.__name__) if inspect.isfunction(default) else default


def public_names(module: ModuleType) -> list[str]:
    """Return the names of what is public in a module."""
    if hasattr(module, "__all__"):
        return sorted(module.__all__)
    return sorted(
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and getattr(value, "__module__", None) == module.__name__
    )


def _lines(module: ModuleType) -> Iterator[str]:
    for name in public_names(module):
        value = getattr(module, name)
        if not inspect.isclass(value):
            yield f"{name}{parameters(value) or ''}"
            continue
        bases = ", ".join(base.__name__ for base in value.__bases__ if base is not object)
        yield f"class {name}({bases})" if bases else f"class {name}"
        if "__init__" in vars(value) and value.__init__.__module__ != "typing":  # a Protocol's
            yield f"    __init__{parameters(value.__init__)}"
        for member, found in members_of(value).items():
            yield f"    {member}{parameters(found) or ''}"


def members_of(value: Any) -> dict[str, Any]:
    """Return the public members that a class of ours has from itself or from other classes of ours.

    Fields of dataclasses without a default are among them: they are slots.
    """
    if not inspect.isclass(value):
        return {}
    found: dict[str, Any] = {}
    for each in reversed([each for each in value.__mro__ if _is_ours(each)]):
        annotated = dict.fromkeys(inspect.get_annotations(each))
        found |= {
            name: member
            for name, member in {**annotated, **vars(each)}.items()
            if not name.startswith("_")
        }
    return dict(sorted(found.items()))


def _is_ours(value: Any) -> bool:
    return (getattr(value, "__module__", None) or "").partition(".")[0] == "xclaim"


def _is_property(member: Any) -> bool:
    return isinstance(member, property | cached_property)


def main() -> None:
    """Write the files."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for page in MODULES:
        path_of(page).write_text(text_of(page))


if __name__ == "__main__":
    main()
