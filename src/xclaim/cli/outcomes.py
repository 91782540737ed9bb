"""How a command ends: the exit status, and one line on stderr for an error."""

from __future__ import annotations

import logging
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import click

from xclaim.arguments import visible
from xclaim.errors import (
    ClaimLostError,
    HiddenRowsError,
    NoConnectionError,
    OrderingNotEnabledError,
    SchemaVersionError,
    StorageError,
    XclaimError,
)

if TYPE_CHECKING:
    from xclaim.cli.database import Database

NOTHING_TO_CLAIM, WRONG_USE, CLAIM_LOST, NO_DATABASE, UNSOUND = 1, 2, 3, 4, 5
BROKEN, INPUT_OUTPUT = 70, 74  # sysexits.h
INTERRUPTED, NOBODY_READS = 130, 141  # what a shell reports after SIGINT and SIGPIPE


class DatabaseError(click.ClickException):
    """The database cannot be reached, or refused a statement."""

    exit_code = NO_DATABASE


class RefusedError(click.ClickException):
    """What is asked for cannot be, or not without saying so; nothing was changed."""

    exit_code = WRONG_USE


class DemonstrationError(click.ClickException):
    """The demonstration did not show what it promises."""

    exit_code = BROKEN


def status_of(
    group: click.Group, arguments: list[str] | None, database: Database | None = None
) -> int:
    """Run the command and return its exit status; an error is one line on stderr.

    ``database``: what holds where no option says something else.
    """
    with _warnings_in_lines():
        return _status_of(group, arguments, database)


def _status_of(group: click.Group, arguments: list[str] | None, database: Database | None) -> int:
    try:
        result = group.main(args=arguments, prog_name="xclaim", standalone_mode=False, obj=database)
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001  (no traceback at 3 a.m.)
        if os.environ.get("XCLAIM_TRACEBACK"):
            for line in traceback.format_exc().splitlines():
                say(line)
        problem, status = _ending(error)
        say(f"error: {problem}")
        return status
    return result if isinstance(result, int) else 0


def _ending(error: BaseException) -> tuple[str, int]:
    """Return what to say of an error, and the exit status."""
    match error:
        case click.UsageError():
            said = f"{error.format_message().rstrip('.')}{_hint(error)}", error.exit_code
        case click.ClickException():
            said = error.format_message(), error.exit_code
        case click.Abort() | KeyboardInterrupt():
            said = "interrupted", INTERRUPTED
        case XclaimError():
            said = str(error), _status_of_error(error)
        case OSError():
            said = _unread_or_unwritten(error), INPUT_OUTPUT
        case MemoryError():
            said = "not enough memory", BROKEN
        case _:
            said = f"{_unexpected(error)}; XCLAIM_TRACEBACK=1 shows where", BROKEN
    return said


def _unread_or_unwritten(error: OSError) -> str:
    # stdin and stdout have no name
    what = f" {error.filename!r}" if isinstance(error.filename, str) else ""
    return f"reading or writing{what} failed ({error.strerror or error})"


def _unexpected(error: BaseException) -> str:
    # Of errors that are not ours only the class: their texts may show payloads and passwords.
    if isinstance(error, ImportError):
        return f"a package is missing or broken ({error})"
    return f"a fault of xclaim or of what it uses ({type(error).__name__})"


@contextmanager
def _warnings_in_lines() -> Iterator[None]:
    """Let what xclaim logs be lines on stderr, like errors, without the traceback it may carry."""
    logger, lines = logging.getLogger("xclaim"), _Lines(logging.WARNING)
    logger.addHandler(lines)
    try:
        yield
    finally:
        logger.removeHandler(lines)


class _Lines(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        say(record.getMessage())


def say(line: str) -> None:
    """Write one line to stderr, if anybody still listens; control characters become visible."""
    with suppress(OSError, ValueError):  # closed
        click.echo(visible(line), err=True)


def emit(output: bytes) -> None:
    """Write bytes and a line's end to stdout; end quietly if its reader has gone (``| head``)."""
    try:
        click.echo(output)
    except BrokenPipeError:
        # What is still buffered would fail again when Python exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise click.exceptions.Exit(NOBODY_READS) from None


def _hint(error: click.UsageError) -> str:
    if error.ctx is None:
        return ""
    dash = ""
    if isinstance(error, click.NoSuchOption) and not error.option_name.startswith("--"):
        dash = "; put `--` before an argument that begins with a dash, as in `xclaim push q -- -5`"
    return f"{dash} (see `{error.ctx.command_path} --help`)"


def _status_of_error(error: XclaimError) -> int:
    match error:
        case ClaimLostError():
            return CLAIM_LOST
        case SchemaVersionError() | StorageError() | HiddenRowsError() | OrderingNotEnabledError():
            return NO_DATABASE
        case NoConnectionError():
            return NO_DATABASE
        case _:
            return WRONG_USE
