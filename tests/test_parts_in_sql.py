"""The function of docs/guides/sql.md finds the part of a key that xclaim finds."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from xclaim import create_engine
from xclaim.places import part_of

_PAGE = Path(__file__).parents[1] / "docs" / "guides" / "sql.md"
_FUNCTION = re.compile(r"^CREATE FUNCTION part_of.*?^\);", re.MULTILINE | re.DOTALL)


@pytest.fixture
def engine(empty_postgresql_url: str) -> Iterator[Engine]:
    made = create_engine(empty_postgresql_url)
    yield made
    made.dispose()


@pytest.mark.parametrize("count", [1, 2, 3, 7, 256, 1000])
def test_a_key_is_in_the_same_part_in_sql(engine: Engine, count: int) -> None:
    (function,) = _FUNCTION.findall(_PAGE.read_text("utf-8"))
    keys = ["", "order-2", "ü🫖", *map(str, range(50))]

    with engine.begin() as connection:
        connection.exec_driver_sql(function.replace("%", "%%"))
        found = connection.scalars(
            text(
                "SELECT part_of(key, :count)"
                " FROM unnest(CAST(:keys AS text[])) WITH ORDINALITY AS given (key, place)"
                " ORDER BY place"
            ),
            {"count": count, "keys": keys},
        ).all()

    assert found == [part_of(key, count) for key in keys]
