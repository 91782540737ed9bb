"""People of the Airflow of the tests, and what each may do there."""

from __future__ import annotations

import json
from pathlib import Path

# An admin, one who may read connections and not edit them, and one who may not read any.
_ROLES = {"ada": "admin", "olga": "user", "vic": "viewer"}
PASSWORDS = {name: f"{name} of the tests" for name in _ROLES}
ADMIN = {"username": "ada", "password": PASSWORDS["ada"]}


def user_settings(home: Path) -> dict[str, str]:
    """Return the settings of an Airflow that knows them; their passwords are written to its home.

    See `auth_manager` for what their roles mean.
    """
    passwords = home / "passwords.json"
    passwords.write_text(json.dumps(PASSWORDS))
    return {
        "AIRFLOW__CORE__AUTH_MANAGER": "tests.stack.auth_manager.ObservingUsers",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "False",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": ",".join(map(":".join, _ROLES.items())),
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(passwords),
    }
