"""The worker processes: started, killed, stopped, and followed by others."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from multiprocessing.process import BaseProcess
from pathlib import Path
from random import Random

from tests.torture.forking import wait_for_orphans
from tests.torture.workers import Job, Role, work

_END_SECONDS = 60


@dataclass(slots=True)
class Member:
    """A worker at work."""

    job: Job
    process: BaseProcess
    is_stopped: bool = False


class Crew:
    """The workers of a run. ``routes`` are the URLs by which they reach the same database."""

    def __init__(self, folder: Path, routes: Sequence[str], random: Random) -> None:
        self._folder = folder
        self._routes = routes
        self._random = random
        self._members: list[Member] = []
        # Each is forked from a process that has imported everything and done nothing yet.
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["tests.torture.workers"])
        self.crashes: list[str] = []

    def hire(self, role: Role, count: int, *, seed: int, messages_per_second: float = 0) -> None:
        """Start workers; the rate is that of all of them together."""
        for number in range(count):
            job = Job(
                role=role,
                number=number,
                incarnation=0,
                folder=self._folder,
                url=self._random.choice(self._routes),
                seed=seed,
                messages_per_second=messages_per_second / count,
            )
            self._start(job)

    def kill_one(self, random: Random) -> None:
        """Kill a worker, and start another in its place."""
        member = random.choice(self._members)
        member.process.kill()
        member.process.join()
        self._follow(member)

    def stop_one(self, random: Random, seconds: float) -> bool:
        """Stop a worker for so long, as a paused virtual machine; half of them go on."""
        going = [member for member in self._members if not member.is_stopped]
        if len(going) <= len(self._members) / 2:
            return False
        member = random.choice(going)
        member.is_stopped = True
        _send(signal.SIGSTOP, member)
        timer = threading.Timer(seconds, self._resume, [member])
        timer.daemon = True
        timer.start()
        return True

    def skew_one(self, random: Random) -> None:
        """Set the clock of a worker wrong by another amount."""
        _send(signal.SIGUSR1, random.choice(self._members))

    def replace_crashed(self) -> None:
        """Start others for workers that ended though nobody killed them, and remember that."""
        for member in list(self._members):
            if not member.process.is_alive():
                self.crashes.append(f"{member.job.name} ended with {member.process.exitcode}")
                self._follow(member)

    def dismiss(self, role: Role) -> None:
        """Let those of a role finish what they do, and wait for them."""
        (self._folder / f"{role}.stop").touch()
        deadline = time.monotonic() + _END_SECONDS
        for member in [each for each in self._members if each.job.role is role]:
            self._resume(member)
            member.process.join(max(deadline - time.monotonic(), 0.1))
            if member.process.exitcode != 0:
                self.crashes.append(f"{member.job.name} ended with {member.process.exitcode}")
                member.process.kill()
            self._members.remove(member)
        if not wait_for_orphans(self._folder, max(deadline - time.monotonic(), 0.1)):
            self.crashes.append("a child that a consumer has forked does not end")

    def kill_all(self) -> None:
        """Leave nobody behind."""
        for member in self._members:
            member.process.kill()
            member.process.join()
        self._members.clear()

    def _follow(self, member: Member) -> None:
        self._members.remove(member)
        url = self._random.choice(self._routes)
        self._start(replace(member.job, incarnation=member.job.incarnation + 1, url=url))

    def _start(self, job: Job) -> None:
        process = self._context.Process(target=work, args=(job,), daemon=True)
        process.start()
        self._members.append(Member(job, process))

    @staticmethod
    def _resume(member: Member) -> None:
        if member.is_stopped:
            _send(signal.SIGCONT, member)
        member.is_stopped = False


def _send(number: signal.Signals, member: Member) -> None:
    if member.process.is_alive():  # it may have crashed
        os.kill(member.process.pid or 0, number)
