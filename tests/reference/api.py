"""The pages of the API: which names there are; their docstrings are read when the site is built."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from importlib import import_module

from tests.api_docs import MODULES, public_names
from tests.reference.markdown import docstring, page

_PUBLIC = "What is not here is private and may change in any release."


def core() -> str:
    """Return the page of xclaim without Airflow."""
    sentence = f"Every public class, function and value of `xclaim`, without Airflow. {_PUBLIC}"
    return page("API", sentence, *_parts("xclaim"))


def airflow() -> str:
    """Return the page of xclaim.airflow."""
    sentence = f"What a DAG file imports from `xclaim.airflow`. {_PUBLIC}"
    return page("API for Airflow", sentence, *_parts("airflow"))


def _parts(of_page: str) -> Iterator[str]:
    for name in MODULES[of_page]:
        module = import_module(name)
        yield f"## {name}"
        yield docstring(module).partition(" >>> ")[0]
        yield _directives(name, [*_documented(name)])


def _documented(module_name: str) -> Iterator[str]:
    module = import_module(module_name)
    for name in public_names(module):
        value = getattr(module, name)
        if inspect.isclass(value):
            yield f".. autoclass:: {module_name}.{name}\n   :members:\n   :inherited-members: _"
        elif callable(value):
            yield f".. autofunction:: {module_name}.{name}"
        elif not name.startswith("__"):
            yield f".. autodata:: {module_name}.{name}"


def _directives(module_name: str, directives: list[str]) -> str:
    # The site's own language where Markdown has none: a repository browser shows the names.
    listed = "\n\n".join([f".. py:module:: {module_name}", *directives])
    return f"```{{eval-rst}}\n{listed}\n```"
