"""Pages that change while somebody looks, by server-sent events.

What many browsers watch is asked once: there is one poller for a place and a page, which all its
listeners share. Each is sent what has changed since it was sent something, so that one that reads
slowly misses steps and no values. A stream ends after half a minute, and the browser asks anew: a
session that is no longer good, or a server that is to stop, is not held up by an open page.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections import Counter
from collections.abc import AsyncIterator, Callable, Hashable, Iterator
from contextlib import AbstractContextManager, aclosing, contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from xclaim.errors import XclaimError
from xclaim.web.access import AccessDeniedError
from xclaim.web.failures import failure_of
from xclaim.web.routes import in_thread, settings_of, visit_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request
    from starlette.types import Receive, Scope, Send

    from xclaim.web.cells import Cells
    from xclaim.web.places import Place
    from xclaim.web.visits import Visit

_logger = logging.getLogger("xclaim")

Poll = Callable[[], "Cells"]
Key = tuple[str, int, str | None, Hashable]  # topic, engine, schema, what else was asked for
LISTENERS = 64  # of one application: each is an open connection
TOPICS = 32  # of one application: each is asked for again and again
_SHARES = 2  # one person has at most one of so many shares of either
_LIFETIME = 30.0  # seconds of one stream
_LOOKS_AGAIN = 10.0  # whether the person may still look
_PAUSE, _LONGEST_PAUSE = 2.0, 30.0
_SHARE = 10  # a poller rests for so many times as long as its question took
_LINGERS = 5.0  # after its last listener, who may only have asked anew
_RETRY = 2_000  # milliseconds, until a browser asks anew


@dataclass(frozen=True, slots=True)
class Topic:
    """What can be watched: what asks for it, and the fields of the address that this heeds."""

    watch: Callable[[Visit], Poll]
    fields: tuple[str, ...] = ()


class Watched:
    """One page of one place, asked for as long as somebody listens."""

    def __init__(self, poll: Poll, begun_by: str) -> None:
        self._poll = poll
        self.begun_by = begun_by
        self._changed = asyncio.Event()
        self._is_old = asyncio.Event()  # what was asked for: something was done since
        self.listeners = 0
        self.cells: Cells = {}
        self.trouble: str | None = None
        self.task: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Ask, and wake the listeners, until there are none."""
        loop = asyncio.get_running_loop()
        left_at = loop.time()
        pause = _PAUSE
        while True:
            began_at = loop.time()
            await self._ask()
            took = loop.time() - began_at
            pause = min(pause * 2, _LONGEST_PAUSE) if self.trouble else max(_PAUSE, _SHARE * took)
            self.wake()
            await self._rest(min(pause, _LONGEST_PAUSE))
            if self.listeners:
                left_at = loop.time()
            elif loop.time() - left_at >= _LINGERS:
                return

    async def _rest(self, seconds: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._is_old.wait(), seconds)

    def forget(self) -> None:
        """Ask at once, and show nothing until then: what was asked for before is old."""
        self.cells = {}
        self._is_old.set()

    async def _ask(self) -> None:
        self._is_old.clear()
        try:
            cells = await in_thread(self._poll)
            if not self._is_old.is_set():  # else it may be what was before
                self.cells = cells
        except Exception as error:  # noqa: BLE001  (it is said, and asked again)
            self.trouble = failure_of(error).title
            if not isinstance(error, XclaimError):
                _logger.warning("a page that is watched cannot be asked: %s", type(error).__name__)
        else:
            self.trouble = None

    def wake(self) -> None:
        """Let the listeners look."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def change(self, seconds: float) -> None:
        """Return at the next answer, or after so many seconds."""
        try:
            await asyncio.wait_for(self._changed.wait(), seconds)
        except TimeoutError:
            return


class Live:
    """All that is watched of one application."""

    def __init__(self, topics: Mapping[str, Topic]) -> None:
        self._topics = topics
        self._watched: dict[Key, Watched] = {}
        self._listeners: Counter[str] = Counter()  # by the names of persons
        self._is_closed = False
        self.route = Route("/events", self._events, methods=["GET"], name="/events")

    def forget(self, place: Place) -> None:
        """Ask anew for all that is watched of a place. Call it in the event loop."""
        for (_, engine, schema, _), watched in self._watched.items():
            if (engine, schema) == (id(place.engine), place.schema):
                watched.forget()

    def close(self) -> None:
        """End all streams: the server is to stop. Call it in the event loop."""
        self._is_closed = True
        for watched in self._watched.values():
            watched.wake()
            if watched.task is not None:
                watched.task.cancel()

    async def _events(self, request: Request) -> Response:
        visit = await in_thread(lambda: visit_of(request))
        name = visit.query("topic")
        topic = self._topics.get(name)
        if topic is None:
            raise AccessDeniedError(404, "there is nothing of this name to watch")
        asked = tuple(visit.query(field) for field in topic.fields)
        key = (name, id(visit.place.engine), visit.place.schema, asked)
        if self._is_closed or self._is_too_much(key, visit.person.name):
            raise AccessDeniedError(
                503, "too many pages are watched already: reload this one to see what is new"
            )
        if request.method == "HEAD":
            return Response(media_type="text/event-stream")
        watched = self._join(key, topic.watch(visit), visit.person.name)
        listening = self._listening(watched, visit.person.name)
        return EventStream(self._changes(request, watched), listening)

    def _is_too_much(self, key: Key, person: str) -> bool:
        is_too_much = self._listeners.total() >= LISTENERS
        is_too_much |= self._listeners[person] >= LISTENERS // _SHARES
        if key not in self._watched:
            is_too_much |= not self._has_room(person)
        return is_too_much

    def _has_room(self, person: str) -> bool:
        """Return whether one more can be watched, for which one that nobody looks at any more goes.

        Else who clicks through the queues would be refused what is looked at last.
        """
        own = [key for key, watched in self._watched.items() if watched.begun_by == person]
        for keys, most in ((own, TOPICS // _SHARES), (list(self._watched), TOPICS)):
            if len(keys) >= most:
                left = next((key for key in keys if not self._watched[key].listeners), None)
                if left is None:
                    return False
                self._end(left)
        return True

    def _end(self, key: Key) -> None:
        watched = self._watched.pop(key)
        if watched.task is not None:
            watched.task.cancel()

    def _join(self, key: Key, poll: Poll, person: str) -> Watched:
        watched = self._watched.get(key)
        if watched is None or watched.task is None or watched.task.done():
            watched = self._watched[key] = Watched(poll, person)
            watched.task = asyncio.create_task(watched.run())
            watched.task.add_done_callback(lambda _: self._leave(key, watched))
        return watched

    def _leave(self, key: Key, watched: Watched) -> None:
        if self._watched.get(key) is watched:  # else it has been begun anew
            del self._watched[key]

    @contextmanager
    def _listening(self, watched: Watched, person: str) -> Iterator[None]:
        self._listeners[person] += 1
        watched.listeners += 1
        try:
            yield
        finally:
            watched.listeners -= 1
            self._listeners[person] -= 1
            self._listeners += Counter()  # which forgets who has none

    async def _changes(self, request: Request, watched: Watched) -> AsyncIterator[str]:
        loop = asyncio.get_running_loop()
        ends_at, looks_at = loop.time() + _LIFETIME, loop.time() + _LOOKS_AGAIN
        sent: Cells = {}
        trouble: str | None = None
        yield f"retry: {_RETRY}\n\n"
        while not self._is_closed and loop.time() < ends_at:
            if loop.time() >= looks_at:
                looks_at = loop.time() + _LOOKS_AGAIN
                if not await _may_still_look(request):
                    yield _event("over", {"text": "You are no longer signed in: reload the page."})
                    return
            cells = watched.cells
            new = {name: cell for name, cell in cells.items() if sent.get(name) != cell}
            if watched.trouble != trouble:
                trouble = watched.trouble
                yield _event("trouble", {"text": trouble or ""})
            yield _event("cells", new) if new else ": nothing new\n\n"
            sent = cells
            await watched.change(min(_LOOKS_AGAIN, max(0.0, ends_at - loop.time())))


class EventStream(StreamingResponse):
    """A stream of events, closed when the browser has gone.

    It is within ``listening`` from its very beginning: of many that begin at once none is missed
    when they are counted.
    """

    def __init__(self, events: AsyncIterator[str], listening: AbstractContextManager[None]) -> None:
        super().__init__(
            events,
            media_type="text/event-stream",
            headers={"x-accel-buffering": "no"},  # of nginx, which would keep it back
        )
        self._events = events
        self._listening = listening

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        with self._listening:
            await super().__call__(scope, receive, send)

    async def stream_response(self, send: Send) -> None:
        """Send the events; what they hold is let go at once, whatever ends them."""
        async with aclosing(self._events):  # type: ignore[type-var]  # it is a generator
            await super().stream_response(send)


async def _may_still_look(request: Request) -> bool:
    try:
        await settings_of(request).access.identify(request)
    except Exception:  # noqa: BLE001  (whatever it is, the door closes)
        return False
    return True


def _event(name: str, value: object) -> str:
    # JSON has no line break of its own, which would end the event.
    return f"event: {name}\ndata: {json.dumps(value)}\n\n"
