"""Worker processes that live through the whole run, told what to do through a pipe."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from threading import Barrier
from typing import Any

from benchmarks.contenders import load
from benchmarks.contenders.contender import Session

_HEAD_START = 0.05  # seconds between the order and the start: all have read it by then


@dataclass(frozen=True, slots=True)
class Shift:
    """What one worker did: from when to when, by a clock all share, and which messages."""

    began: float
    ended: float
    consumed: list[int]
    warmed_up: int = 0  # messages consumed before


class Crew:
    """A number of worker processes."""

    def __init__(self, size: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipes: list[Connection] = []
        for _ in range(size):
            ours, theirs = context.Pipe()
            context.Process(target=_serve, args=(theirs,), daemon=True).start()
            self._pipes.append(ours)

    def consume(
        self, contender: str, url: str, *, workers: int, limit: int, batch: int, warm_up: int
    ) -> list[Shift]:
        """Let so many workers consume ``limit`` messages each, all beginning at once."""
        pipes = self._pipes[:workers]
        self._ask(pipes, (_open, contender, url))
        try:
            before = self._ask(pipes, (_warm_up, warm_up * batch, batch))
            start = time.perf_counter() + _HEAD_START
            shifts = self._ask(pipes, (_consume, start, limit, batch))
        finally:
            self._ask(pipes, (_close,))
        return [
            replace(shift, warmed_up=len(consumed))
            for shift, consumed in zip(shifts, before, strict=True)
        ]

    def herd(self, contender: str, url: str, *, workers: int, threads: int) -> list[Shift]:
        """Let each thread of each worker, connected beforehand, consume one message."""
        pipes = self._pipes[:workers]
        start = time.perf_counter() + 3 + _HEAD_START
        return [
            each
            for shifts in self._ask(pipes, (_herd, contender, url, threads, start))
            for each in shifts
        ]

    @staticmethod
    def _ask(pipes: Sequence[Connection], order: tuple[Any, ...]) -> list[Any]:
        for pipe in pipes:
            pipe.send(order)
        answers = [pipe.recv() for pipe in pipes]
        for answer in answers:
            if isinstance(answer, Failed):
                raise RuntimeError(answer.error)
        return answers


@dataclass(frozen=True, slots=True)
class Failed:
    """A worker's order failed."""

    error: str


def _serve(pipe: Connection) -> None:
    state: dict[str, Session] = {}
    while True:
        try:
            order: tuple[Callable[..., Any], Any] = pipe.recv()
        except EOFError:
            return
        act, *arguments = order
        try:
            pipe.send(act(state, *arguments))
        except Exception as error:  # noqa: BLE001  (it is the measurement's result)
            pipe.send(Failed(f"{type(error).__name__}: {error}"))


def _open(state: dict[str, Session], contender: str, url: str) -> None:
    state["session"] = load(contender).open(url)


def _warm_up(state: dict[str, Session], limit: int, batch: int) -> list[int]:
    return state["session"].consume(limit, batch) if limit else []


def _consume(state: dict[str, Session], start: float, limit: int, batch: int) -> Shift:
    _sleep_until(start)
    began = time.perf_counter()
    consumed = state["session"].consume(limit, batch)
    return Shift(began, time.perf_counter(), consumed)


def _close(state: dict[str, Session]) -> None:
    if "session" in state:
        state.pop("session").close()


def _herd(
    _state: dict[str, Session], contender: str, url: str, threads: int, start: float
) -> list[Shift]:
    """Connect all, wait for each other, and consume one message each."""
    connected = Barrier(threads)

    def take_one(_number: int) -> Shift:
        session = load(contender).open(url)
        try:
            connected.wait()
            _sleep_until(start)
            began = time.perf_counter()
            consumed = session.consume(1, 1)
            return Shift(began, time.perf_counter(), consumed)
        finally:
            session.close()

    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(take_one, range(threads)))


def _sleep_until(start: float) -> None:
    time.sleep(max(0.0, start - time.perf_counter()))


@contextmanager
def open_session(contender: str, url: str) -> Iterator[Session]:
    """Open a session in this process."""
    session = load(contender).open(url)
    try:
        yield session
    finally:
        session.close()
