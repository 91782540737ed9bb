"""What the figures were taken on."""

from __future__ import annotations

import os
import platform
import sqlite3
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

from benchmarks.server import SETTINGS, Server

_PACKAGES = (
    "xclaim", "sqlalchemy", "psycopg", "pgmq", "pgqueuer", "procrastinate", "awa-pg", "litequeue",
    "persist-queue",
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
        "packages": {name: version(name) for name in _PACKAGES},
        "settings": {
            **SETTINGS,
            **{name: server.setting(name) for name in _DURABLE},
        },
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()
