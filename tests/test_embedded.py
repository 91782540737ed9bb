"""The embedded PostgreSQL: there when asked for, gone afterwards."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import make_url

from xclaim.embedded import embedded_postgresql


def connect(url: str) -> psycopg.Connection:
    plain = make_url(url).set(drivername="postgresql")
    return psycopg.connect(plain.render_as_string(hide_password=False), autocommit=True)


def test_a_server_ends_with_its_block_also_on_an_exception() -> None:
    with pytest.raises(ValueError, match="boom"), embedded_postgresql(durable=False) as url:
        with connect(url) as connection:
            assert connection.info.server_version // 10_000 == 18
        raise ValueError("boom")

    with pytest.raises(psycopg.OperationalError):
        connect(url)


def test_a_directory_keeps_its_data(tmp_path_factory: pytest.TempPathFactory) -> None:
    # As root the server runs as `nobody`, who may not enter pytest's own folders.
    directory = Path("/tmp") / f"xclaim kept {tmp_path_factory.getbasetemp().name}"  # noqa: S108
    try:
        with embedded_postgresql(directory, durable=False) as url, connect(url) as connection:
            connection.execute("CREATE TABLE kept (id int)")

        with embedded_postgresql(directory, durable=False) as url, connect(url) as connection:
            found = connection.execute("SELECT to_regclass('kept')::text").fetchone()
        with (
            pytest.raises(ValueError, match="pass version=18"),
            embedded_postgresql(directory, version=16),
        ):
            pass
    finally:
        shutil.rmtree(directory, ignore_errors=True)

    assert found == ("kept",)


def test_a_version_that_is_not_there_is_refused() -> None:
    with (
        pytest.raises(ValueError, match="there is no embedded PostgreSQL 9"),
        embedded_postgresql(version=9),
    ):
        pass


def test_a_missing_wheel_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)

    with pytest.raises(ImportError, match=r"xclaim\[embedded\]"), embedded_postgresql():
        pass
