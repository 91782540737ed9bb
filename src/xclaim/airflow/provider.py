"""What Airflow asks a provider about itself."""

from __future__ import annotations

from typing import Any


def get_provider_info() -> dict[str, Any]:
    """Return what there is, as Airflow's provider schema wants it."""
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
        "operators": [
            {"integration-name": "xclaim", "python-modules": ["xclaim.airflow.operators"]}
        ],
        "sensors": [{"integration-name": "xclaim", "python-modules": ["xclaim.airflow.sensors"]}],
        "triggers": [{"integration-name": "xclaim", "python-modules": ["xclaim.airflow.triggers"]}],
        "task-decorators": [
            {"name": "exclusive", "class-name": "xclaim.airflow.decorators.exclusive_task"}
        ],
        "queues": ["xclaim.airflow.queues.XclaimMessageQueueProvider"],
        "extra-links": ["xclaim.airflow.links.MessagesLink"],
        "asset-uris": [
            {
                "schemes": ["xclaim"],
                "handler": "xclaim.airflow.assets.sanitize_uri",
                "factory": "xclaim.airflow.assets.create_asset",
            }
        ],
        "config": {
            "xclaim": {
                "description": "Options of xclaim.",
                "options": {
                    "messages_url": {
                        "description": (
                            "Where the link Messages of a task leads. Filled in: {task_instance}, "
                            "{dag_id}, {run_id}, {task_id}, {map_index}, {try_number}. Empty: no "
                            "link."
                        ),
                        "version_added": "0.2.0",
                        "type": "string",
                        "example": "https://grafana.example/d/xclaim?var-task={task_instance}",
                        "default": "",
                    }
                },
            }
        },
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
                    "xclaim_storage": {
                        "label": "Payload storage",
                        "description": "For large payloads: s3://conn_id@bucket/prefix, file://...",
                        "schema": {"type": ["string", "null"]},
                    },
                    "xclaim_storage_threshold": {
                        "label": "Payload threshold",
                        "description": "Bytes above which a payload is large; 65536 if empty.",
                        "schema": {"type": ["integer", "null"], "minimum": 0},
                    },
                    "xclaim_encryption": {
                        "label": "Payload encryption",
                        "description": "airflow: its Fernet key; xclaim: XCLAIM_FERNET_KEYS.",
                        "schema": {"type": ["string", "null"], "enum": ["airflow", "xclaim", None]},
                    },
                },
                "ui-field-behaviour": {
                    "relabeling": {"schema": "Database, or SQLite file if there is no host"},
                    "placeholders": {"host": "database.example", "port": "5432"},
                },
            }
        ],
    }
