"""A short race at few keys and at many: `make torture` runs it for as long as you like."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.ordering.race import Settings, run

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("keys", [3, 60])
def test_eight_processes_that_are_killed_keep_the_order_of_each_key(
    ordered_postgresql_url: str, tmp_path: Path, keys: int
) -> None:
    settings = Settings(
        url=ordered_postgresql_url,
        folder=tmp_path,
        seconds=4,
        keys=keys,
        processes=8,
        least_kills=12,
    )

    result = run(settings)

    assert result.broken == [], str(result)
    assert result.acks > 50


def test_four_processes_that_are_killed_keep_the_order_of_each_key_on_sqlite(
    sqlite_url: str, tmp_path: Path
) -> None:
    settings = Settings(
        url=sqlite_url, folder=tmp_path, seconds=3, keys=10, processes=4, least_kills=12
    )

    result = run(settings)

    assert result.broken == [], str(result)
    assert result.acks > 20
