"""The page of what can be set: variables, options of Airflow, and extras of a connection."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.reference import markdown
from tests.reference.markdown import code, table
from xclaim.airflow.connections import _QUERY_EXTRAS
from xclaim.airflow.payload_settings import STORAGE_EXTRAS
from xclaim.airflow.provider import get_provider_info
from xclaim.cli.database import DEFAULT_URL
from xclaim.payloads.options import MAX_IN_ROW, THRESHOLD

SOURCES = Path(__file__).parents[2] / "src" / "xclaim"
_NAME = re.compile(r"XCLAIM_[A-Z_]+")
_SECRET = "may hold a password or a key: give it as a secret"
_MEANINGS: dict[str, tuple[str, str]] = {  # the default, and what it says
    "XCLAIM_DATABASE_URL": (
        code(DEFAULT_URL),
        (
            "The database of the command line: `postgresql://user:password@host/database` or "
            f"`sqlite:///file`. In Python you pass it. It {_SECRET}."
        ),
    ),
    "XCLAIM_SCHEMA": (
        "the search path",
        "The PostgreSQL schema of the table, for commands and queues without one.",
    ),
    "XCLAIM_PLACES": (
        "none",
        (
            "The TOML file that says [which queue is where](../guides/places.md), for the command "
            "line and `Places.from_environment()`. `XCLAIM_DATABASE_URL` is not looked at then."
        ),
    ),
    "XCLAIM_DASHBOARD_USER": ("", "Who is let in by `xclaim dashboard --auth basic`."),
    "XCLAIM_DASHBOARD_PASSWORD": (
        "",
        "His password, of eight characters or more. It has to be kept as a secret.",
    ),
    "XCLAIM_STORAGE": (
        "all in the row",
        (
            "Where large payloads go: `s3://bucket/prefix`, `gs://`, `abfs://`, `file:///folder`. "
            "[Payloads](../payloads.md#large-payloads) lists them."
        ),
    ),
    "XCLAIM_STORAGE_OPTIONS": (
        "",
        (
            'A JSON object for the client of the storage: `{"endpoint_url": "http://..."}`. '
            f"It {_SECRET}."
        ),
    ),
    "XCLAIM_STORAGE_THRESHOLD": (
        code(str(THRESHOLD)),
        "How many bytes a payload may have that stays in the row.",
    ),
    "XCLAIM_MAX_IN_ROW": (
        code(str(MAX_IN_ROW)),
        "How many bytes of JSON a row may have; a push of more is refused.",
    ),
    "XCLAIM_FERNET_KEYS": (
        "not encrypted",
        (
            "Fernet keys between commas; every payload is encrypted: the first encrypts, "
            f"all decrypt. It {_SECRET}."
        ),
    ),
    "XCLAIM_ALLOW_UNENCRYPTED": (
        code("false"),
        "`true` reads what is not encrypted as well, while a queue is moved to encryption.",
    ),
    "XCLAIM_METRICS_TOKEN": (
        "",
        (
            "Who sends it as a bearer token may read `/metrics` of `xclaim dashboard`, and nothing "
            f"else. It {_SECRET}."
        ),
    ),
    "XCLAIM_OTEL": (
        "",
        (
            "`1`: the command line and every process of Airflow measure and trace with "
            "OpenTelemetry. [Monitoring](../operations/monitoring.md#what-workers-measure) and "
            "[Traces](../guides/tracing.md) have more."
        ),
    ),
    "XCLAIM_OTEL_MESSAGE_IS_PARENT": (
        code("false"),
        (
            "`1`: the span of the work on a message belongs to the trace of its push, at the first "
            "attempt. [Tracing](../guides/tracing.md#links-and-when-the-push-is-the-parent) has "
            "more."
        ),
    ),
    "XCLAIM_TRACEBACK": (
        "",
        "Anything: the command line prints the traceback of an error besides its one line.",
    ),
}

# What Airflow's form for a connection has no field for.
_OTHER_EXTRAS = {
    "xclaim_storage_options": (
        "object",
        f"For the client of the storage, as `XCLAIM_STORAGE_OPTIONS`. It {_SECRET}.",
    ),
}


def page() -> str:
    """Return the page."""
    return markdown.page(
        "Configuration",
        "Every variable, Airflow option and connection extra that xclaim reads. There is no file "
        "of its own; what is passed to a `Queue` in Python comes before all of these.",
        "## Environment variables",
        table(("variable", "default", "meaning"), _variables()),
        "## Airflow options",
        "In the section `[xclaim]` of `airflow.cfg`, or as the variable.",
        table(("option", "type", "default", "variable", "meaning"), _airflow_options()),
        "Another option is Airflow's own: `[core] xcom_backend = "
        "xclaim.airflow.xcom.XclaimXComBackend` makes xclaim keep the XComs.",
        "## Connection extras",
        "Of a connection of type `xclaim`, `postgres` or `sqlite`, as JSON in the field *Extra*.",
        table(("extra", "type", "meaning"), _extras()),
        "These go to PostgreSQL as they are, and mean what "
        "[libpq](https://www.postgresql.org/docs/current/libpq-connect.html) says: "
        + ", ".join(map(code, sorted(set(_QUERY_EXTRAS) - set(_fields()))))
        + ". Other extras belong to Airflow's own hooks, and are left alone.",
    )


def names_in_the_code() -> set[str]:
    """Return the variables that the package names anywhere."""
    texts = (path.read_text() for path in SOURCES.rglob("*.py"))
    return {name for text in texts for name in _NAME.findall(text)}


def _variables() -> Iterator[tuple[str, str, str]]:
    for name in sorted(names_in_the_code() | set(_MEANINGS)):
        default, meaning = _MEANINGS[name]
        yield code(name), default, meaning


def _airflow_options() -> Iterator[tuple[str, ...]]:
    for name, option in get_provider_info()["config"]["xclaim"]["options"].items():
        example = f" Such as `{option['example']}`." if option.get("example") else ""
        yield (
            code(name),
            option["type"],
            code(str(option["default"] or "")),
            code(f"AIRFLOW__XCLAIM__{name.upper()}"),
            option["description"] + example,
        )


def _fields() -> dict[str, dict[str, Any]]:
    (connection,) = get_provider_info()["connection-types"]
    fields: dict[str, dict[str, Any]] = connection["conn-fields"]
    return fields


def _extras() -> Iterator[tuple[str, str, str]]:
    fields = _fields()
    for name in [*fields, *sorted(set(STORAGE_EXTRAS) - set(fields))]:
        if name in fields:
            (type_,) = {*fields[name]["schema"]["type"]} - {"null"}
            yield code(name), type_, f"{fields[name]['label']}. {fields[name]['description']}"
        else:
            yield code(name), *_OTHER_EXTRAS[name]
