"""PostgreSQL servers that a test may kill and start again, from the embedded programs."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psycopg

from tests.programs import START_PATIENCE
from xclaim import embedded

_PROGRAMS = 18  # the version of the embedded ones


class Server:
    """One PostgreSQL server, on the same port in all its lives."""

    def __init__(self, files: embedded._Cluster) -> None:
        self.files = files
        self.port = embedded._find_free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """The superuser's connection string, for psycopg."""
        return (
            f"postgresql://postgres:{self.files.password}@127.0.0.1:{self.port}/postgres"
            "?connect_timeout=20"
        )

    @property
    def is_running(self) -> bool:
        """Whether the postmaster lives."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it, and wait until it accepts connections.

        After a SIGKILL that takes a moment: no server starts while one process of the last lives.
        """
        deadline = time.monotonic() + START_PATIENCE
        while True:
            self._process = self.files._start(self.port)
            if self._is_up(deadline):
                return
            embedded._stop(self._process)
            if time.monotonic() > deadline:
                raise TimeoutError(self.files._end_of_log())
            time.sleep(0.05)

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        """Send the postmaster a signal that ends it, and wait for its end.

        SIGQUIT is PostgreSQL's immediate shutdown. Either way the operating system goes on, and
        keeps what was written, flushed to the disk or not: this is no power failure.
        """
        if self._process is None:
            return
        os.kill(int((self.files.data / "postmaster.pid").read_text().split()[0]), number)
        self._process.wait(START_PATIENCE)
        embedded._stop(self._process)

    def stop(self) -> None:
        """Shut it down, if it runs."""
        if self._process is not None:
            embedded._stop(self._process)

    def execute(self, statement: str) -> list[tuple[object, ...]]:
        """Run a statement as the superuser, in autocommit, and return its rows, if it has any."""
        with psycopg.connect(self.address, autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def run(self, *command: str) -> None:
        """Run one of PostgreSQL's programs as the account of the server."""
        program = str(self.files.programs / command[0])
        subprocess.run(
            [program, *command[1:]],
            check=True,
            cwd="/",
            env=embedded._environment(),
            capture_output=True,
            **self.files._run_as(),
        )

    def _is_up(self, deadline: float) -> bool:
        while self.is_running and time.monotonic() < deadline:
            try:
                psycopg.connect(self.address).close()
            except psycopg.OperationalError:
                time.sleep(0.02)
            else:
                return True
        return False


@contextmanager
def new_server(
    settings: Mapping[str, str],
    *,
    durable: bool = True,
    prepare: Callable[[Server], None] | None = None,
    programs: Path | None = None,
) -> Iterator[Server]:
    """Run a server of one's own, of the embedded programs or those in another folder.

    ``prepare`` makes its data in place of initdb.
    """
    programs = programs or embedded._find_programs(_PROGRAMS)
    version = embedded._read_version(programs / "postgres")
    scratch = Path(tempfile.mkdtemp(prefix="xclaim-server-"))
    try:
        account = embedded._choose_account(scratch / "data")
        if account is not None:
            embedded._let_in(account, scratch, scratch)
            programs = embedded._copy_if_closed(programs, account, scratch)
        files = embedded._Cluster(
            programs, account, scratch=scratch, home=scratch, durable=durable, settings=settings
        )
        server = Server(files)
        if prepare is None:
            files.initialize(version)
        else:
            prepare(server)
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
