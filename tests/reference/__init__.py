"""Write the pages of docs/reference, each from the code that it describes.

Run `python -m tests.reference` after changing an option, a setting, a column, an error or a line of
the log; a test compares. What the code does not say of itself, above all what a column or a line
means, stands in these modules: something new without a meaning is an error here.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.reference import api, cli, configuration, errors, functions, log_lines, schema, views

FOLDER = Path(__file__).parents[2] / "docs" / "reference"
PAGES: dict[str, Callable[[], str]] = {
    "api": api.core,
    "airflow-api": api.airflow,
    "cli": cli.page,
    "configuration": configuration.page,
    "schema": schema.page,
    "views": views.page,
    "functions": functions.page,
    "errors": errors.page,
    "log-lines": log_lines.page,
}


def path_of(name: str) -> Path:
    """Return the file of a page."""
    return FOLDER / f"{name}.md"


def write() -> None:
    """Write all pages."""
    FOLDER.mkdir(exist_ok=True)
    for name, text in PAGES.items():
        path_of(name).write_text(text())
