"""``airflow xclaim ...``: for what needs Airflow's own database."""

from __future__ import annotations

from datetime import timedelta
from typing import Any


def get_commands() -> list[Any]:
    """Return the commands, as Airflow's command line asks a provider for them."""
    from airflow.cli.cli_config import ActionCommand, Arg, GroupCommand, lazy_load_command

    older_than = Arg(  # type: ignore[no-untyped-call]
        ("--older-than-hours",),
        type=float,
        default=24.0,
        help="Leave objects alone that are younger (default: 24).",
    )
    dry_run = Arg(  # type: ignore[no-untyped-call]
        ("--dry-run",), action="store_true", help="Count, and delete nothing."
    )
    clean = ActionCommand(
        name="clean-xcoms",
        help="Delete the objects of XComs that are no more in Airflow's database",
        func=lazy_load_command("xclaim.airflow.commands.clean_xcoms"),
        args=(older_than, dry_run),
    )
    return [GroupCommand(name="xclaim", help="XCom, but exclusive", subcommands=(clean,))]


def clean_xcoms(arguments: Any) -> None:
    """Delete objects and print how many.

    :param arguments: of the command line.
    """
    from xclaim.airflow.xcom.cleaning import clean_xcoms_by_database
    from xclaim.errors import XclaimError

    age = timedelta(hours=arguments.older_than_hours)
    try:
        counts = clean_xcoms_by_database(age, dry_run=arguments.dry_run)
    except XclaimError as error:
        raise SystemExit(str(error)) from error
    print(" ".join(f"{name}={count}" for name, count in counts.items()))  # noqa: T201
