"""The command that measures: what Prometheus is told of the queues."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from datetime import timedelta
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import click

from xclaim.cli.database import Database, place_options
from xclaim.cli.options import look_timeout_option
from xclaim.cli.outcomes import NO_DATABASE, RefusedError, emit, say

if TYPE_CHECKING:
    from xclaim.observing.observer import Observer
    from xclaim.telemetry.prometheus import Exposition

_HOST = "127.0.0.1"
_MISSING = (
    "metrics need the package prometheus-client: run `pip install 'xclaim[metrics]'`, or "
    "'xclaim[web]' with the dashboard"
)


@click.command()
@click.option(
    "--port", type=click.IntRange(0, 65_535), help="Serve them at this port; 0: a free one."
)
@click.option("--host", help=f"With --port, where to listen: {_HOST} unless said otherwise.")
@click.option(
    "--output",
    "path",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Instead of stdout this file, replaced as a whole, as node_exporter's textfile reads it.",
)
@click.option("--alerts", is_flag=True, help="Print alert rules for Prometheus instead.")
@click.option("--board", is_flag=True, help="Print a board for Grafana instead.")
@look_timeout_option
@place_options
def metrics(
    *,
    port: int | None,
    host: str | None,
    path: Path | None,
    alerts: bool,
    board: bool,
    timeout: timedelta,
    database: Database,
) -> int:
    """Print metrics for Prometheus, or serve them.

    Once, to stdout; with --port at http://127.0.0.1:PORT/metrics until it is interrupted. Each look
    is read-only, and costs the same however large the table is. While the database is down
    xclaim_up is 0, and the exit status of a single look is 4.
    """
    if alerts or board:
        if (alerts and board) or port is not None or path is not None or host is not None:
            raise click.UsageError("--alerts and --board print a file each: no other option")
        return _print("alerts.yml" if alerts else "board.json")
    if port is None and host is not None:
        raise click.UsageError("--host says where --port listens: give --port, as in --port 9187")
    if port is not None and path is not None:
        raise click.UsageError("--port and --output exclude each other")
    from xclaim.observing.observer import Observer

    with database.engine_not_connected() as engine:
        observer = Observer(engine, database.schema, timeout)
        if port is not None:
            return _serve(_exposition(observer, counts=True), host or _HOST, port)
        scrape = _exposition(observer, counts=False).scrape()
    if path is None:
        emit(scrape.body.removesuffix(b"\n"))  # which it adds
    else:
        _replace(path, scrape.body)
    return 0 if scrape.is_up else NO_DATABASE


def _print(file: str) -> int:
    """Print a file of the package."""
    body = (files("xclaim.telemetry") / "monitoring" / file).read_bytes()
    emit(body.removesuffix(b"\n"))  # which it adds
    return 0


def _exposition(observer: Observer, *, counts: bool) -> Exposition:
    try:
        from xclaim.telemetry.prometheus import Exposition
    except ImportError as error:
        raise RefusedError(_MISSING) from error
    return Exposition(observer, counts=counts)


def _serve(exposition: Exposition, host: str, port: int) -> int:
    from xclaim.telemetry.serving import serving

    with serving(exposition, host, port) as (address, thread):
        say(f"metrics: {address}")
        thread.join()
    return 0


def _replace(path: Path, body: bytes) -> None:
    """Write the file so that nobody reads the half of it; others may read it, as node_exporter."""
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    except OSError as error:
        error.filename = str(path)  # which was asked for
        raise
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(body)
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except BaseException:
        with suppress(OSError):
            Path(name).unlink()
        raise


COMMANDS = (metrics,)
