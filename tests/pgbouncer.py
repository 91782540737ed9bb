"""A pgbouncer in transaction mode in front of a database, which may be killed and started again."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest
from sqlalchemy import make_url

from tests import programs

PROGRAM = os.environ.get("XCLAIM_TEST_PGBOUNCER") or shutil.which(
    "pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin"
)
needs_pgbouncer = pytest.mark.skipif(
    PROGRAM is None,
    reason="there is no pgbouncer: install the package pgbouncer (Debian), "
    "or name the program in XCLAIM_TEST_PGBOUNCER",
)
_CONFIGURATION = """
[databases]
{database} = host={host} port={port} user={user} password={password}

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {listen_port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = {pool_size}
server_login_retry = 1
ignore_startup_parameters = extra_float_digits
"""


class Bouncer:
    """Run pgbouncer in front of a database; as nobody, because it refuses to run as root."""

    def __init__(self, url: str, folder: Path, *, pool_size: int = 2) -> None:
        self._server = make_url(url)
        self._folder = folder
        self._pool_size = pool_size
        self._port = programs.free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> str:
        """Start it, and return the URL of the database through it."""
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            self._folder = Path(f"/tmp/xclaim-pgbouncer-{os.getpid()}-{self._port}")  # noqa: S108
            self._folder.mkdir(mode=0o700)
            os.chown(self._folder, nobody.pw_uid, nobody.pw_gid)
        (self._folder / "pgbouncer.ini").write_text(self._configuration())
        self.start()
        url = self._server.set(host="127.0.0.1", port=self._port)
        # Without prepared statements, which pgbouncer 1.18 does not know.
        return url.update_query_dict({"prepare_threshold": "none"}).render_as_string(
            hide_password=False
        )

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Kill it."""
        self.kill()
        if os.geteuid() == 0:
            shutil.rmtree(self._folder)

    def start(self) -> None:
        """Start it, again after a kill, and wait until it answers."""
        options: dict[str, Any] = {}
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            options = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
        command = [str(PROGRAM), str(self._folder / "pgbouncer.ini")]
        self._process = programs.start(command, self._port, **options)

    def kill(self) -> None:
        """Kill it, with all connections through it."""
        if self._process is not None:
            programs.stop(self._process)

    def _configuration(self) -> str:
        return _CONFIGURATION.format(
            database=self._server.database,
            host=self._server.host,
            port=self._server.port,
            user=self._server.username,
            password=self._server.password,
            listen_port=self._port,
            pool_size=self._pool_size,
        )
