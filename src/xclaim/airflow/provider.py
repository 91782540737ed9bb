"""What Airflow asks a provider about itself."""

from __future__ import annotations

from typing import Any


def get_provider_info() -> dict[str, Any]:
    """Return the connection type, with its form, as Airflow's provider schema wants it."""
    return {
        "package-name": "xclaim",
        "name": "xclaim",
        "description": "XCom, but exclusive: a message table, each payload consumed exactly once.",
        "integrations": [
            {
                "integration-name": "xclaim",
                "tags": ["software"],
            }
        ],
        "hooks": [{"integration-name": "xclaim", "python-modules": ["xclaim.airflow.hooks"]}],
        "connection-types": [
            {
                "hook-class-name": "xclaim.airflow.hooks.XclaimHook",
                "hook-name": "xclaim",
                "connection-type": "xclaim",
                "conn-fields": {
                    "xclaim_schema": {
                        "label": "PostgreSQL schema",
                        "description": "Where xclaim_message lives; empty: on the search path.",
                        "schema": {"type": ["string", "null"]},
                    },
                    "sslmode": {
                        "label": "SSL mode",
                        "description": "As libpq: disable, prefer, require, verify-full ...",
                        "schema": {"type": ["string", "null"]},
                    },
                    "prepare_threshold": {
                        "label": "Prepare threshold",
                        "description": "'none' switches prepared statements off, for a pooler.",
                        "schema": {"type": ["string", "null"]},
                    },
                },
                "ui-field-behaviour": {
                    "relabeling": {"schema": "Database, or SQLite file if there is no host"},
                    "placeholders": {"host": "database.example", "port": "5432"},
                },
            }
        ],
    }
