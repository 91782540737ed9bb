"""Which database a command uses, and what its errors mean for the exit status."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from sqlalchemy import Engine

DEFAULT_FILE = "xclaim.db"
NOTHING_TO_CLAIM, WRONG_USE, CLAIM_LOST, NO_DATABASE, INTERRUPTED = 1, 2, 3, 4, 130


@contextmanager
def opened(options: dict[str, Any], *, create: bool = False) -> Iterator[Engine]:
    """Yield an engine on the chosen database and say on stderr which one it is.

    Only ``create`` makes a SQLite file that is not there; other commands fail instead of leaving
    an empty one behind.
    """
    from xclaim.engine import create_engine, parse_url
    from xclaim.revision import mismatch

    url = parse_url(options["url"] or f"sqlite:///{DEFAULT_FILE}")
    if not options["quiet"]:
        click.echo(f"database: {url.render_as_string(hide_password=True)}", err=True)
    path = url.database if url.get_backend_name() == "sqlite" else None
    if path and path != ":memory:" and not create and not Path(path).exists():
        raise mismatch(None)
    engine = create_engine(url)
    try:
        yield engine
    finally:
        engine.dispose()


def guarded(group: click.Group, arguments: list[str] | None) -> int:
    """Run the command and return its exit status; an error is one line on stderr."""
    from sqlalchemy.exc import SQLAlchemyError

    from xclaim.errors import XclaimError

    try:
        result = group.main(args=arguments, prog_name="xclaim", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:
        return _say("interrupted", INTERRUPTED)
    except XclaimError as error:
        return _say(error, _status_of(error))
    except SQLAlchemyError as error:
        return _say(_first_line(error), NO_DATABASE)
    return result if isinstance(result, int) else 0


def _status_of(error: Exception) -> int:
    from xclaim.errors import ClaimLostError, SchemaVersionError

    match error:
        case ClaimLostError():
            return CLAIM_LOST
        case SchemaVersionError():
            return NO_DATABASE
        case _:
            return WRONG_USE


def _say(problem: object, status: int) -> int:
    click.echo(f"error: {problem}", err=True)
    return status


def _first_line(error: Exception) -> str:
    reason = str(getattr(error, "orig", None) or error).strip().splitlines()
    return f"the database failed ({reason[0] if reason else type(error).__name__}): check --url"
