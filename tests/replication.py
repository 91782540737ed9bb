"""A primary and a standby that streams from it, of the embedded programs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import URL, make_url

from tests.clusters import Server, new_server
from tests.eventually import until

# Without fsync, which is for power failures; but a commit waits for a synchronous standby.
_SETTINGS = {"synchronous_commit": "on", "wal_receiver_status_interval": "1s"}
_NAME = "standby"


@dataclass(frozen=True, slots=True)
class Pair:
    """Two servers; the URL leads to the one that takes writes, whichever it is."""

    primary: Server
    standby: Server

    @property
    def url(self) -> str:
        one = make_url(self.primary.address)
        url = URL.create(
            "postgresql",
            one.username,
            one.password,
            database=one.database,
            query={
                "host": (f"127.0.0.1:{self.primary.port}", f"127.0.0.1:{self.standby.port}"),
                "target_session_attrs": "read-write",
                "connect_timeout": "20",
            },
        )
        return url.render_as_string(hide_password=False)

    def make_synchronous(self) -> None:
        """Let a commit be confirmed only when the standby has it on its disk."""
        self.primary.execute(f"ALTER SYSTEM SET synchronous_standby_names = '{_NAME}'")
        self.primary.execute("SELECT pg_reload_conf()")
        until(lambda: self._ask_primary("SELECT sync_state FROM pg_stat_replication") == "sync")

    def stop_receiving(self) -> None:
        """Let the standby fall behind; an asynchronous primary does not mind."""
        self.standby.execute("ALTER SYSTEM SET primary_conninfo = ''")
        self.standby.execute("SELECT pg_reload_conf()")
        until(lambda: self._ask_primary("SELECT count(*) FROM pg_stat_replication") == 0)

    def promote(self) -> None:
        """Make the standby the primary, and return when it takes writes."""
        self.standby.execute("SELECT pg_promote()")

    def catch_up(self) -> None:
        """Wait until the standby has all that the primary has."""
        behind = "SELECT pg_current_wal_lsn() - replay_lsn FROM pg_stat_replication"
        until(lambda: self._ask_primary(behind) == 0)

    def _ask_primary(self, question: str) -> Any:
        rows = self.primary.execute(question)
        return rows[0][0] if rows else None


@contextmanager
def replicated() -> Iterator[Pair]:
    """Run both; the replication is asynchronous until told otherwise."""
    with new_server(_SETTINGS, durable=False) as primary:

        def copy(standby: Server) -> None:
            files = standby.files
            (files.home / "password").write_text(primary.files.password)
            standby.run(
                "pg_basebackup",
                f"--pgdata={files.data}",
                f"--dbname=postgresql://postgres:{files.password}@127.0.0.1:{primary.port}"
                f"/?application_name={_NAME}",
                "--write-recovery-conf",
                "--checkpoint=fast",
                "--no-sync",
            )

        with new_server(_SETTINGS, durable=False, prepare=copy) as standby:
            pair = Pair(primary, standby)
            until(lambda: pair._ask_primary("SELECT state FROM pg_stat_replication") == "streaming")
            yield pair
