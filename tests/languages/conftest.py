"""What the examples in other languages need: a database, and what they print as they run."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import Engine, make_url, text

from tests.eventually import until
from tests.retrying import AT_ONCE
from xclaim import Queue, create_engine, embedded

EXAMPLES = Path(__file__).parents[2] / "examples"


@dataclass(frozen=True, slots=True)
class Place:
    """A migrated database: for the tests, and as an example is told of it."""

    engine: Engine

    def queue(self, name: str = "orders") -> Queue:
        """Return a queue whose failed messages do not rest, and whose pushes wake."""
        return Queue(name, self.engine, notify=True, retry=AT_ONCE)

    @property
    def url(self) -> str:
        """Return the URL that libpq and its like understand."""
        plain = self.engine.url.set(drivername="postgresql")
        return plain.render_as_string(hide_password=False)

    @property
    def variables(self) -> dict[str, str]:
        """Return the same as libpq's environment variables."""
        url = self.engine.url
        parts = {
            "PGHOST": url.host,
            "PGPORT": url.port,
            "PGUSER": url.username,
            "PGPASSWORD": url.password,
            "PGDATABASE": url.database,
        }
        return {name: str(value) for name, value in parts.items() if value is not None}

    def run(self, sql: str) -> list[tuple[object, ...]]:
        """Run a statement and return its rows."""
        with self.engine.begin() as connection:
            result = connection.execute(text(sql))
            return [tuple(row) for row in result] if result.returns_rows else []

    def end_leases(self, queue: Queue) -> None:
        """Let the leases end that dead workers hold, and give their messages back."""
        self.run(
            "UPDATE xclaim_message SET claim_expires_at = now() - interval '1 s'"
            " WHERE status = 'claimed'"
        )
        queue.expire()

    @contextmanager
    def locked(self, table: str) -> Iterator[None]:
        """Keep others from writing to a table: whoever works on a message stops there."""
        with self.engine.begin() as connection:
            connection.execute(text(f"LOCK TABLE {table} IN SHARE MODE"))
            yield

    def is_anyone_waiting(self) -> bool:
        """Return whether a session waits for such a lock."""
        return bool(
            self.run(
                "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
                " AND datname = current_database()"
            )
        )


@pytest.fixture
def place(fresh_postgresql_url: str) -> Iterator[Place]:
    engine = create_engine(make_url(fresh_postgresql_url))
    yield Place(engine)
    engine.dispose()


@dataclass(frozen=True, slots=True)
class Program:
    """A running example, and the file with what it prints."""

    process: subprocess.Popen[bytes]
    output: Path

    def printed(self) -> str:
        """Return what it has printed so far, errors too."""
        return self.output.read_text(errors="replace")

    def wait_for(self, words: str) -> None:
        """Wait until it has printed the words; fail with what it says as soon as it ends."""

        def has_said() -> bool:
            is_running = self.process.poll() is None
            said = words in self.printed()
            assert said or is_running, self.printed()
            return said

        until(has_said)

    def kill(self) -> None:
        """Kill it, as a machine does that has no memory left."""
        self.process.kill()
        self.process.wait()

    def end(self) -> int:
        """Ask it to end as a supervisor does, and return its status."""
        self.process.terminate()
        return self.process.wait()


Start = Callable[..., Program]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Return what starts a program, which does not outlive the test."""
    running: list[Program] = []

    def run(command: Sequence[str | Path], **variables: str) -> Program:
        output = tmp_path / f"output-{len(running)}"
        with output.open("wb") as printed:
            process = subprocess.Popen(
                list(map(str, command)),
                env=environment(variables),
                stdin=subprocess.DEVNULL,
                stdout=printed,
                stderr=subprocess.STDOUT,
                cwd=tmp_path,
            )
        running.append(Program(process, output))
        return running[-1]

    yield run
    for program in running:
        program.kill()


def environment(variables: Mapping[str, str]) -> dict[str, str]:
    """Return our environment with these variables, and with the psql that the wheel brings."""
    path = f"{embedded._find_programs(18)}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, **variables}
