"""How a command ends: the exit status, and one line on stderr for an error."""

from __future__ import annotations

import os
import sys
from contextlib import suppress

import click

from xclaim.errors import ClaimLostError, SchemaVersionError, StorageError, XclaimError

NOTHING_TO_CLAIM, WRONG_USE, CLAIM_LOST, NO_DATABASE, UNSOUND = 1, 2, 3, 4, 5
BROKEN, INPUT_OUTPUT = 70, 74  # sysexits.h
INTERRUPTED, NOBODY_READS = 130, 141  # what a shell reports after SIGINT and SIGPIPE


class DatabaseError(click.ClickException):
    """The database cannot be reached, or refused a statement."""

    exit_code = NO_DATABASE


class DemonstrationError(click.ClickException):
    """The demonstration did not show what it promises."""

    exit_code = BROKEN


def status_of(group: click.Group, arguments: list[str] | None) -> int:
    """Run the command and return its exit status; an error is one line on stderr."""
    try:
        result = group.main(args=arguments, prog_name="xclaim", standalone_mode=False)
    except click.UsageError as error:
        return _fail(f"{error.format_message().rstrip('.')}{_hint(error)}", error.exit_code)
    except click.ClickException as error:
        return _fail(error.format_message(), error.exit_code)
    except click.Abort:
        return _fail("interrupted", INTERRUPTED)
    except XclaimError as error:
        return _fail(str(error), _status_of_error(error))
    except OSError as error:
        return _fail(f"reading or writing failed ({error.strerror or error})", INPUT_OUTPUT)
    return result if isinstance(result, int) else 0


def say(line: str) -> None:
    """Write one line to stderr, if anybody still listens; control characters become visible."""
    visible = "".join(
        character if character.isprintable() else ascii(character)[1:-1] for character in line
    )
    with suppress(OSError):
        click.echo(visible, err=True)


def emit(output: bytes) -> None:
    """Write bytes and a line's end to stdout; end quietly if its reader has gone (``| head``)."""
    try:
        click.echo(output)
    except BrokenPipeError:
        # What is still buffered would fail again when Python exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise click.exceptions.Exit(NOBODY_READS) from None


def _fail(problem: str, status: int) -> int:
    say(f"error: {problem}")
    return status


def _hint(error: click.UsageError) -> str:
    return "" if error.ctx is None else f" (see `{error.ctx.command_path} --help`)"


def _status_of_error(error: XclaimError) -> int:
    match error:
        case ClaimLostError():
            return CLAIM_LOST
        case SchemaVersionError() | StorageError():
            return NO_DATABASE
        case _:
            return WRONG_USE
