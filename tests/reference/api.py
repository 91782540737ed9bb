"""The pages of the API: which names there are; their docstrings are read when the site is built."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from importlib import import_module
from typing import Any

from tests.api_docs import MODULES, members_of, public_names
from tests.reference.markdown import docstring, page

_PUBLIC = "What is not here is private and may change in any release."
# What Airflow asks of an operator, and nobody calls.
_AIRFLOWS = frozenset({"template_ext", "template_fields", "ui_color", "operator_extra_links"})


def core() -> str:
    """Return the page of xclaim without Airflow."""
    sentence = f"Every public class, function and value of `xclaim`, without Airflow. {_PUBLIC}"
    return page("API", sentence, *_parts("xclaim"))


def airflow() -> str:
    """Return the page of xclaim.airflow."""
    sentence = f"What a DAG file imports from `xclaim.airflow`. {_PUBLIC}"
    return page("API for Airflow", sentence, *_parts("airflow"))


def _parts(of_page: str) -> Iterator[str]:
    for module_name in MODULES[of_page]:
        module = import_module(module_name)
        yield f"## {module_name}"
        yield docstring(module).partition(" >>> ")[0]
        yield _sphinx(f".. py:module:: {module_name}")
        for name in public_names(module):
            if not name.startswith("__"):
                yield f"### {name}"
                yield _sphinx(_directive(f"{module_name}.{name}", getattr(module, name)))


def _directive(full_name: str, value: Any) -> str:
    if not inspect.isclass(value):
        return f".. {'autofunction' if callable(value) else 'autodata'}:: {full_name}"
    members = ", ".join(ours for ours in members_of(value) if ours not in _AIRFLOWS)
    listed = f"\n   :members: {members}\n   :undoc-members:" if members else ""
    return f".. autoclass:: {full_name}{listed}"


def _sphinx(directive: str) -> str:
    # The site's own language, for what Markdown has none for; a repository browser shows the names.
    return f"```{{eval-rst}}\n{directive}\n```"
