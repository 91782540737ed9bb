"""Java and PostgreSQL's driver for it, where a machine has both: no wheel brings them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from urllib.parse import urlencode

import pytest
from sqlalchemy import URL

_MAVENS = Path.home() / ".m2" / "repository" / "org" / "postgresql" / "postgresql"
_DEBIANS = Path("/usr/share/java")  # of the package libpostgresql-jdbc-java
_FOUND_IN = (
    (_MAVENS, "*/postgresql-*.jar"),
    (_DEBIANS, "postgresql*.jar"),
)


def _driver() -> str | None:
    """Return the driver's file: that of XCLAIM_TEST_JDBC_DRIVER, or the newest that is found."""
    if named := os.environ.get("XCLAIM_TEST_JDBC_DRIVER"):
        return named
    found = [path for folder, files in _FOUND_IN for path in folder.glob(files)]
    return str(max(found, key=lambda path: path.stat().st_mtime)) if found else None


# The compiler as well: it compiles the example as it starts.
needs_java = pytest.mark.skipif(
    shutil.which("javac") is None or _driver() is None,
    reason="needs a JDK and PostgreSQL's driver: default-jdk-headless and libpostgresql-jdbc-java",
)


def command() -> list[str]:
    """Return what runs a program of one file with the driver."""
    return ["java", "-cp", str(_driver())]


def url_of(url: URL) -> str:
    """Return the URL of a database as JDBC wants it."""
    names = {"user": url.username, "password": url.password}
    given = urlencode({name: value for name, value in names.items() if value is not None})
    return f"jdbc:postgresql://{url.host}:{url.port or 5432}/{url.database}?{given}"
