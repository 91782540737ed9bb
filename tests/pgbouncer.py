"""pgbouncer in transaction mode, in front of a database."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import make_url

PROGRAM = os.environ.get("XCLAIM_TEST_PGBOUNCER") or shutil.which(
    "pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin"
)
needs_pgbouncer = pytest.mark.skipif(
    PROGRAM is None,
    reason="there is no pgbouncer: install the package pgbouncer (Debian), "
    "or name the program in XCLAIM_TEST_PGBOUNCER",
)
POOL_SIZE = 2
CONFIGURATION = """
[databases]
{database} = host={host} port={port} user={user} password={password}

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {listen_port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = {pool_size}
ignore_startup_parameters = extra_float_digits
logfile = {folder}/pgbouncer.log
"""


class PgBouncer:
    """Run pgbouncer in front of a database; as nobody, because it refuses to run as root."""

    def __init__(self, url: str, folder: Path) -> None:
        self._server = make_url(url)
        self._folder = folder
        self._port = free_port()

    def __enter__(self) -> str:
        options: dict[str, Any] = {}
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            options = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
            self._folder = Path(f"/tmp/xclaim-pgbouncer-{os.getpid()}-{self._port}")  # noqa: S108
            self._folder.mkdir(mode=0o700)
            os.chown(self._folder, nobody.pw_uid, nobody.pw_gid)
        configuration = self._folder / "pgbouncer.ini"
        configuration.write_text(self._configuration())
        self._process = subprocess.Popen([str(PROGRAM), "-q", str(configuration)], **options)
        self._wait_until_ready()
        url = self._server.set(host="127.0.0.1", port=self._port)
        return url.update_query_dict({"prepare_threshold": "none"}).render_as_string(
            hide_password=False
        )

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        if os.geteuid() == 0:
            shutil.rmtree(self._folder)

    def _configuration(self) -> str:
        return CONFIGURATION.format(
            database=self._server.database,
            host=self._server.host,
            port=self._server.port,
            user=self._server.username,
            password=self._server.password,
            listen_port=self._port,
            pool_size=POOL_SIZE,
            folder=self._folder,
        )

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", self._port), timeout=1).close()
            except OSError:
                assert self._process.poll() is None, "pgbouncer ended"
                assert time.monotonic() < deadline, "pgbouncer does not answer"
                time.sleep(0.02)
            else:
                return


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
