"""What is public is pinned and explained: its names, its parameters, its docstrings."""

from __future__ import annotations

import pytest

from tests import api_docs

# Airflow's part is left out where there is no Airflow.
PAGES = [
    pytest.param(page, marks=[pytest.mark.airflow] if page == "airflow" else [])
    for page in api_docs.MODULES
]


@pytest.mark.parametrize("page", PAGES)
def test_the_public_names_and_their_parameters_are_pinned(page: str) -> None:
    written = api_docs.path_of(page).read_text()

    assert written == api_docs.text_of(page), "run `python -m tests.api_docs`"


@pytest.mark.parametrize("page", PAGES)
def test_every_public_name_has_a_docstring(page: str) -> None:
    found = dict(api_docs.objects(page))

    assert len(found) > 20
    assert [name for name, value in found.items() if not (value.__doc__ or "").strip()] == []


def test_a_changed_parameter_is_seen() -> None:
    def push(payload: object, *, priority: int = 0, delay: object = None) -> None: ...

    assert api_docs.parameters(push) == "(payload, *, priority=0, delay=None)"
