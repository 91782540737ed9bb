"""``airflow xclaim ...``: the command xclaim through an Airflow connection, and ``clean-xcoms``."""

from __future__ import annotations

import logging
import os
import sys
from argparse import BooleanOptionalAction
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from xclaim.cli.database import Database

_OF_THE_CONNECTION = ("url", "places", "place")  # options that --conn-id stands for
_WITHOUT_A_DATABASE = ("demo",)  # a command that makes one for itself
_DEFAULT = "xclaim_default"
_WHICH = "which"  # of the commands of a group, such as `ordering enable`


def get_commands() -> list[Any]:
    """Return the commands, as Airflow's command line asks a provider for them."""
    from airflow.cli.cli_config import ActionCommand, Arg, GroupCommand, lazy_load_command

    from xclaim.cli.app import COMMANDS

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
    of_xclaim = (
        ActionCommand(
            name=str(command.name),
            help=command.get_short_help_str(limit=80),
            description=(command.help or "").replace("%", "%%"),
            func=partial(run_command, command),
            args=tuple(_arguments(command)),
        )
        for command in COMMANDS
        if command.name not in _WITHOUT_A_DATABASE
    )
    return [
        GroupCommand(
            name="xclaim",
            help="XCom, but exclusive: its queues, through an Airflow connection",
            subcommands=(*of_xclaim, clean),
        )
    ]


def run_command(command: Any, arguments: Any) -> None:
    """Run a command of ``xclaim`` on the database of an Airflow connection, and exit as it does.

    :param command: of ``xclaim.cli``.
    :param arguments: of Airflow's command line.
    """
    from xclaim.cli.app import group
    from xclaim.cli.outcomes import WRONG_USE, say, status_of
    from xclaim.errors import XclaimError

    with _own_stdout() as speaking, _quiet_loggers():
        try:
            database = database_behind(arguments.conn_id)
        except XclaimError as error:
            say(f"error: {error}")
            raise SystemExit(WRONG_USE) from error
        with speaking():
            status = status_of(group, _words(command, arguments), database)
    raise SystemExit(status)


@contextmanager
def _own_stdout() -> Iterator[Callable[[], AbstractContextManager[None]]]:
    """Keep stdout for the JSON: what Airflow logs there goes to stderr.

    Yields what makes ``sys.stdout`` the real one for a block that prints. Airflow logs through the
    ``sys.stdout`` that it found when it was imported or, in some versions, when it first logs: so
    that one has to be another file, and so has whatever is there while Airflow is asked.
    """
    theirs = sys.stdout
    try:
        number, stderr = theirs.fileno(), sys.stderr.fileno()
    except (AttributeError, OSError, ValueError):  # closed, or in memory
        yield nullcontext
        return
    theirs.flush()
    kept = os.dup(number)
    os.dup2(stderr, number)
    try:
        yield partial(_speaking, kept, theirs)
    finally:
        theirs.flush()
        os.dup2(kept, number)
        os.close(kept)


@contextmanager
def _speaking(number: int, theirs: TextIO) -> Iterator[None]:
    """Let ``sys.stdout`` be a file descriptor for a block."""
    own = os.fdopen(os.dup(number), "w", encoding=theirs.encoding, errors=theirs.errors)
    sys.stdout = own
    try:
        yield
        own.flush()
    finally:
        with suppress(OSError):  # nobody reads
            own.close()
        sys.stdout = theirs


@contextmanager
def _quiet_loggers() -> Iterator[None]:
    """Keep log lines from Airflow's handlers, the command line shows them itself."""
    loggers = [logging.getLogger(name) for name in ("xclaim", "alembic")]
    propagate = [logger.propagate for logger in loggers]
    for logger in loggers:
        logger.propagate = False
    try:
        yield
    finally:
        for logger, propagates in zip(loggers, propagate, strict=True):
            logger.propagate = propagates


def database_behind(conn_id: str) -> Database:
    """Return the database that an Airflow connection leads to, for the command line.

    :param conn_id: of a connection of type xclaim, postgres or sqlite.
    :raises DatabaseUrlError: there is no such connection, or it cannot be used.
    """
    from xclaim.airflow.versions import AirflowException

    from airflow.models.connection import Connection

    from xclaim.airflow.connections import database_of, missing_or_stored
    from xclaim.airflow.payload_settings import payloads_of
    from xclaim.cli.database import Database

    try:
        connection = Connection.get_connection_from_secrets(conn_id)
    except AirflowException as error:
        raise missing_or_stored(conn_id) from error
    found = database_of(connection, conn_id)
    return Database(
        url=found.url.render_as_string(hide_password=False),
        schema=found.schema,
        quiet=False,
        payloads=payloads_of(found.payload_options, {}),
        commands=found.commands,
    )


def clean_xcoms(arguments: Any) -> None:
    """Delete objects and print how many.

    :param arguments: of the command line.
    """
    from xclaim.airflow.xcom.cleaning import clean_xcoms_by_database
    from xclaim.cli.outcomes import WRONG_USE, say
    from xclaim.errors import XclaimError

    age = timedelta(hours=arguments.older_than_hours)
    with _own_stdout() as speaking:
        try:
            counts = clean_xcoms_by_database(age, dry_run=arguments.dry_run)
        except XclaimError as error:
            say(f"error: {error}")
            raise SystemExit(WRONG_USE) from error
        with speaking():
            print(" ".join(f"{name}={count}" for name, count in counts.items()))  # noqa: T201


def _arguments(command: Any) -> Iterator[Any]:
    """Yield what argparse needs to know to accept what the command accepts."""
    from airflow.cli.cli_config import Arg

    yield Arg(  # type: ignore[no-untyped-call]
        ("--conn-id",), default=_DEFAULT, help=f"Airflow connection (default: {_DEFAULT})."
    )
    if below := getattr(command, "commands", None):  # of a group: which of them
        said = "; ".join(f"{name}: {each.get_short_help_str(80)}" for name, each in below.items())
        yield Arg((_WHICH,), choices=list(below), help=said)  # type: ignore[no-untyped-call]
    for parameter in command.params:
        if parameter.name in _OF_THE_CONNECTION:
            continue
        flags, how = _flags(parameter), _how(parameter)
        yield Arg(flags, **how)  # type: ignore[no-untyped-call]


def _flags(parameter: Any) -> tuple[str, ...]:
    return (parameter.name,) if _is_positional(parameter) else tuple(parameter.opts)


def _how(parameter: Any) -> dict[str, Any]:
    if _is_positional(parameter):
        many, one = ("+", None) if parameter.required else ("*", "?")
        nargs = many if parameter.nargs == -1 else one
        return {"metavar": parameter.name.upper(), **({} if nargs is None else {"nargs": nargs})}
    said = (parameter.help or "").replace("%", "%%")
    if parameter.show_default:
        said += f" (default: {parameter.default})"
    how: dict[str, Any] = {"dest": _destination(parameter), "help": said, "default": None}
    if parameter.secondary_opts:
        return {**how, "action": BooleanOptionalAction}
    if parameter.is_flag:
        return {**how, "action": "store_true"}
    how["metavar"] = parameter.metavar or parameter.name.upper()
    return {**how, "action": "append"} if parameter.multiple else how


def _words(command: Any, arguments: Any) -> list[str]:
    """Return the arguments as somebody would have typed them for ``xclaim``."""
    options = [getattr(arguments, _WHICH)] if hasattr(command, "commands") else []
    positional: list[str] = []
    for parameter in command.params:
        if parameter.name in _OF_THE_CONNECTION:
            continue
        if _is_positional(parameter):
            value = getattr(arguments, parameter.name)
            positional += value if isinstance(value, list) else [value] if value is not None else []
            continue
        value = getattr(arguments, _destination(parameter))
        if value is True:
            options.append(parameter.opts[0])
        elif value is False and parameter.secondary_opts:
            options.append(parameter.secondary_opts[0])
        elif value not in (None, False, []):  # but "" is something
            values = value if isinstance(value, list) else [value]
            options += [f"{parameter.opts[0]}={each}" for each in values]
    return [command.name, *options, "--", *positional]


def _is_positional(parameter: Any) -> bool:
    return bool(parameter.param_type_name == "argument")


def _destination(parameter: Any) -> str:
    return f"xclaim_{parameter.name}"  # argparse's own names and Airflow's are others
