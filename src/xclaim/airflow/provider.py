"""What Airflow asks a provider about itself."""

from __future__ import annotations

from typing import Any

DASHBOARD = "xclaim"  # the path of the dashboard on the API server
TASK_TAB = "xclaim-task"  # the name of the tab of a task instance in the address of Airflow's UI
# Where the link Messages leads unless [xclaim] messages_url says otherwise; "" is no link.
MESSAGES_URL = f"{{task_page}}/plugin/{TASK_TAB}"


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
                "to_openlineage_converter": "xclaim.airflow.assets.convert_asset_to_openlineage",
            }
        ],
        "cli": ["xclaim.airflow.commands.get_commands"],
        "config": {
            "xclaim": {
                "description": "Options of xclaim.",
                "options": {
                    "messages_url": {
                        "description": (
                            "Where the link Messages of a task leads; by default to the tab "
                            "Messages of its page in Airflow. Filled in: {task_instance}, "
                            "{dag_id}, {run_id}, {task_id}, {map_index}, {try_number} and, of "
                            "Airflow's own pages, {base_url} and {task_page}. Empty: no link."
                        ),
                        "version_added": "0.1.0",
                        "type": "string",
                        "example": "https://grafana.example/d/xclaim?var-task={task_instance}",
                        "default": None,  # MESSAGES_URL: Airflow 3.1 would fill in its braces
                    },
                    "dashboard_connections": {
                        "description": (
                            "Ids of connections, separated by commas, that the dashboard offers "
                            "beside those of type xclaim which it can list: those of a secrets "
                            "backend, and those of type postgres or sqlite."
                        ),
                        "version_added": "0.1.0",
                        "type": "string",
                        "example": "shop_queues,warehouse",
                        "default": "",
                    },
                    "dashboard_timeout": {
                        "description": (
                            "How many seconds each look of the dashboard at a database may take."
                        ),
                        "version_added": "0.1.0",
                        "type": "float",
                        "example": "10",
                        "default": "2",
                    },
                    "dashboard_read_only": {
                        "description": (
                            "Whether nobody may change anything in the dashboard, not even those "
                            "who may edit the connection."
                        ),
                        "version_added": "0.1.0",
                        "type": "boolean",
                        "example": "True",
                        "default": "False",
                    },
                    "dashboard_hide_payloads": {
                        "description": (
                            "Whether nobody is shown a payload in the dashboard, not even those "
                            "who may edit the connection."
                        ),
                        "version_added": "0.1.0",
                        "type": "boolean",
                        "example": "True",
                        "default": "False",
                    },
                    **_XCOM_OPTIONS,
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
                    "xclaim_places": {
                        "label": "Places",
                        "description": 'Queues behind other connections: {"orders.*": "conn_id"}.',
                        "schema": {"type": ["object", "null"]},
                    },
                    "xclaim_parts": {
                        "label": "Parts",
                        "description": 'Of how many parts a split queue is: {"orders": 4}.',
                        "schema": {"type": ["object", "null"]},
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
                    "pool_size": {
                        "label": "Pool size",
                        "description": "PostgreSQL: connections of a process at most; 96 if empty.",
                        "schema": {"type": ["integer", "null"], "minimum": 1},
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
                    "xclaim_max_in_row": {
                        "label": "Payload limit in the row",
                        "description": "Bytes of JSON that a row may have; 16777216 if empty.",
                        "schema": {"type": ["integer", "null"], "minimum": 1},
                    },
                    "xclaim_encryption": {
                        "label": "Payload encryption",
                        "description": "airflow: its Fernet key; xclaim: XCLAIM_FERNET_KEYS.",
                        "schema": {"type": ["string", "null"], "enum": ["airflow", "xclaim", None]},
                    },
                    "xclaim_allow_unencrypted": {
                        "label": "Allow unencrypted payloads",
                        "description": "true while a queue is moved to encryption.",
                        "schema": {"type": ["boolean", "null"]},
                    },
                },
                "ui-field-behaviour": {
                    "relabeling": {"schema": "Database, or SQLite file if there is no host"},
                    "placeholders": {"host": "database.example", "port": "5432"},
                },
            }
        ],
    }


_XCOM_OPTIONS = {
    "xcom_storage": {
        "description": (
            "Where XclaimXComBackend puts large XComs: file://, s3://, gs://, abfs://, with an "
            "Airflow connection as s3://conn_id@bucket/prefix. Empty: nowhere, all XComs stay in "
            "the database."
        ),
        "version_added": "0.1.0",
        "type": "string",
        "example": "s3://my_connection@my-bucket/airflow",
        "default": "",
    },
    "xcom_threshold": {
        "description": "How many bytes of JSON an XCom may have that stays in the database.",
        "version_added": "0.1.0",
        "type": "integer",
        "example": None,
        "default": "65536",
    },
    "xcom_compression": {
        "description": "How large XComs are compressed: zstd, or empty.",
        "version_added": "0.1.0",
        "type": "string",
        "example": "zstd",
        "default": "",
    },
    "xcom_encryption": {
        "description": (
            "With which Fernet keys large XComs are encrypted: airflow ([core] fernet_key), "
            "xclaim (XCLAIM_FERNET_KEYS), or empty. Every worker and triggerer needs the keys."
        ),
        "version_added": "0.1.0",
        "type": "string",
        "example": "airflow",
        "default": "",
    },
    "xcom_storage_options": {
        "description": "A JSON object for the fsspec file system of xcom_storage.",
        "version_added": "0.1.0",
        "type": "string",
        "sensitive": True,
        "example": '{"endpoint_url": "https://minio.example"}',
        "default": "",
    },
}
