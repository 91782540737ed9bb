"""Streams of events: asked once for all who listen, and ended when they should be."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from threading import Barrier, Event
from typing import Any

import pytest
from sqlalchemy import Engine
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request

from tests.eventually import PATIENCE
from tests.web.dashboards import SignedIn, shop
from xclaim import create_engine
from xclaim.web import Person, Place, live
from xclaim.web.cells import Cells
from xclaim.web.gate import Gate
from xclaim.web.live import Live, Topic, Watched
from xclaim.web.routes import visit_of
from xclaim.web.settings import Settings
from xclaim.web.signing import Signer
from xclaim.web.visits import Visit


@dataclass
class Watch:
    """An application with one page to watch, whose cells a test changes."""

    engine: Engine
    access: SignedIn = field(default_factory=SignedIn)
    cells: Cells = field(default_factory=lambda: {"available:orders": {"text": "1"}})
    error: Exception | None = None
    asked: int = 0
    live: Live = field(init=False)
    app: Starlette = field(init=False)

    def __post_init__(self) -> None:
        self.live = Live({"page": Topic(self._watch, ("name",))})
        settings = Settings(
            places=shop(self.engine),
            access=self.access,
            signer=Signer(b""),
        )
        self.app = Starlette(
            routes=[self.live.route], middleware=[Middleware(Gate, settings=settings)]
        )

    def _watch(self, visit: Visit) -> Callable[[], Cells]:
        def poll() -> Cells:
            self.asked += 1
            if self.error is not None:
                raise self.error
            return dict(self.cells)

        return poll


class Listener:
    """A browser that reads a stream of events from an ASGI application."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self._parts: asyncio.Queue[str | None] = asyncio.Queue()
        self.has_gone = asyncio.Event()

    async def run(self, app: Starlette, query: str) -> None:
        scope = {
            "type": "http",
            "method": "GET",
            "path": "/events",
            "root_path": "",
            "query_string": query.encode(),
            "headers": [],
            "http_version": "1.1",
        }
        await app(scope, self._receive, self._send)
        self._parts.put_nowait(None)

    async def event(self, name: str) -> Any:
        """Return the data of the next event of this name; None if the stream ends first."""
        async with asyncio.timeout(PATIENCE):
            while (part := await self._parts.get()) is not None:
                if part.startswith(f"event: {name}\n"):
                    return json.loads(part.partition("data: ")[2])
        return None

    async def _receive(self) -> dict[str, Any]:
        await self.has_gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {name.decode(): value.decode() for name, value in message["headers"]}
        elif message.get("body"):
            self._parts.put_nowait(message["body"].decode())


@asynccontextmanager
async def listening(watch: Watch, query: str = "topic=page") -> AsyncIterator[Listener]:
    listener = Listener()
    task = asyncio.create_task(listener.run(watch.app, query))
    try:
        yield listener
    finally:
        listener.has_gone.set()
        async with asyncio.timeout(PATIENCE):
            await task


@pytest.fixture
def watch(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(live, "_PAUSE", 0.01)
    monkeypatch.setattr(live, "_LONGEST_PAUSE", 0.02)
    monkeypatch.setattr(live, "_LINGERS", 0.0)
    engine = create_engine(sqlite_url)
    yield Watch(engine)
    engine.dispose()


def test_what_changes_is_sent_and_nothing_else(watch: Watch) -> None:
    watch.cells["dead:orders"] = {"text": "0"}

    async def look() -> tuple[Any, Any]:
        async with listening(watch) as listener:
            first = await listener.event("cells")
            watch.cells["available:orders"] = {"text": "2"}
            return first, await listener.event("cells")

    first, second = asyncio.run(look())

    assert first == {"available:orders": {"text": "1"}, "dead:orders": {"text": "0"}}
    assert second == {"available:orders": {"text": "2"}}


def test_a_stream_is_kept_by_nobody_on_the_way(watch: Watch) -> None:
    async def look() -> dict[str, str]:
        async with listening(watch) as listener:
            await listener.event("cells")
            return listener.headers

    headers = asyncio.run(look())

    assert headers["content-type"].startswith("text/event-stream")
    assert headers["cache-control"] == "no-store"
    assert headers["x-accel-buffering"] == "no"
    assert "content-security-policy" in headers


def test_many_browsers_are_asked_for_once(watch: Watch) -> None:
    async def look() -> int:
        async with listening(watch) as first, listening(watch) as second:
            await first.event("cells")
            await second.event("cells")
            return len(watch.live._watched)

    assert asyncio.run(look()) == 1


def test_pages_that_ask_for_different_things_are_watched_apart(watch: Watch) -> None:
    async def look() -> int:
        async with listening(watch) as first, listening(watch, "topic=page&name=b") as second:
            await first.event("cells")
            await second.event("cells")
            return len(watch.live._watched)

    assert asyncio.run(look()) == 2


def test_what_a_page_does_not_heed_makes_no_other_page_of_it(watch: Watch) -> None:
    async def look() -> int:
        async with listening(watch) as first, listening(watch, "topic=page&x=1&name=") as second:
            await first.event("cells")
            await second.event("cells")
            return len(watch.live._watched)

    assert asyncio.run(look()) == 1


@pytest.mark.parametrize("bound", ["TOPICS", "LISTENERS"])
def test_one_person_leaves_some_to_others(
    watch: Watch, monkeypatch: pytest.MonkeyPatch, bound: str
) -> None:
    monkeypatch.setattr(live, bound, 2)

    async def look() -> list[int]:
        async with listening(watch) as first:
            await first.event("cells")
            async with listening(watch, "topic=page&name=b") as second:
                await second.event("cells")
                refused = second.status
            watch.access.person = Person(name="eve")
            async with listening(watch, "topic=page&name=b") as other:
                await other.event("cells")
                return [refused, other.status]

    assert asyncio.run(look()) == [503, 200]


def test_who_goes_from_page_to_page_quickly_is_refused_none(
    watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "_LINGERS", 60.0)
    monkeypatch.setattr(live, "TOPICS", 4)

    async def look() -> list[int]:
        answers = []
        async with listening(watch, "topic=page&name=stays") as stays:
            await stays.event("cells")
            for number in range(10):
                async with listening(watch, f"topic=page&name={number}") as listener:
                    await listener.event("cells")
                    answers.append(listener.status)
            assert len(watch.live._watched) == 2
            watch.cells = {"available:orders": {"text": "2"}}
            assert await stays.event("cells") == watch.cells
        watch.live.close()
        return answers

    assert asyncio.run(look()) == [200] * 10


def test_nobody_is_asked_when_nobody_listens(watch: Watch) -> None:
    async def look() -> int:
        async with listening(watch) as listener:
            await listener.event("cells")
            (watched,) = watch.live._watched.values()
        assert watched.task is not None
        await asyncio.wait_for(watched.task, PATIENCE)
        await asyncio.sleep(0)  # what is called when it is done
        return len(watch.live._watched)

    assert asyncio.run(look()) == 0


def test_trouble_is_said_and_passes(watch: Watch) -> None:
    watch.error = RuntimeError("hunter2")

    async def look() -> list[Any]:
        async with listening(watch) as listener:
            said = await listener.event("trouble")
            watch.error = None
            return [said, await listener.event("trouble"), await listener.event("cells")]

    assert asyncio.run(look()) == [{"text": "Something broke"}, {"text": ""}, watch.cells]


def test_a_stream_ends_with_the_session(watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "_LOOKS_AGAIN", 0.0)

    async def look() -> Any:
        async with listening(watch) as listener:
            await listener.event("cells")
            watch.access.person = None
            return await listener.event("over"), await listener.event("cells")

    said, after = asyncio.run(look())

    assert "no longer signed in" in said["text"]
    assert after is None


def test_a_stream_ends_by_itself_and_the_browser_asks_anew(
    watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "_LIFETIME", 0.05)

    async def look() -> Any:
        async with listening(watch) as listener:
            return await listener.event("over")

    assert asyncio.run(look()) is None


def test_all_streams_end_when_the_server_is_to_stop(watch: Watch) -> None:
    async def look() -> Any:
        async with listening(watch) as listener:
            await listener.event("cells")
            watch.live.close()
            return await listener.event("over")

    assert asyncio.run(look()) is None


def test_more_listeners_than_there_may_be_are_refused(
    watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "LISTENERS", 1)
    monkeypatch.setattr(live, "_SHARES", 1)

    async def look() -> list[int]:
        async with listening(watch) as first:
            await first.event("cells")
            async with listening(watch) as second:
                await second.event("cells")
                refused = second.status
        async with listening(watch) as third:
            await third.event("cells")
            return [refused, third.status]

    assert asyncio.run(look()) == [503, 200]


def test_of_many_listeners_that_come_at_once_no_more_are_let_in(
    watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "LISTENERS", 2)
    monkeypatch.setattr(live, "_SHARES", 1)
    at_once = Barrier(8)

    def visit_at_once(request: Request) -> Visit:
        at_once.wait(PATIENCE)
        return visit_of(request)

    monkeypatch.setattr(live, "visit_of", visit_at_once)

    async def look() -> list[int]:
        async with AsyncExitStack() as stack:
            several = [await stack.enter_async_context(listening(watch)) for _ in range(8)]
            for each in several:
                await each.event("cells")
            return sorted(each.status for each in several)

    assert asyncio.run(look()) == [200, 200, *[503] * 6]


def test_what_there_is_not_is_not_watched(watch: Watch) -> None:
    async def look() -> int:
        async with listening(watch, "topic=other") as listener:
            await listener.event("cells")
            return listener.status

    assert asyncio.run(look()) == 404


def test_after_an_action_nobody_is_sent_what_was_before(
    watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "_PAUSE", PATIENCE)
    monkeypatch.setattr(live, "_LONGEST_PAUSE", PATIENCE)

    async def look() -> tuple[Any, Any]:
        async with listening(watch) as listener:
            await listener.event("cells")
            watch.cells["available:orders"] = {"text": "2"}
            watch.live.forget(Place(name="other", engine=watch.engine, schema="other"))
            (watched,) = watch.live._watched.values()
            before = dict(watched.cells)
            watch.live.forget(Place(name="shop", engine=watch.engine))
            async with listening(watch) as later:
                sent = [await listener.event("cells"), await later.event("cells")]
            assert watched.task is not None
            watched.task.cancel()
            return before, sent

    before, sent = asyncio.run(look())

    assert before == {"available:orders": {"text": "1"}}
    assert sent == [{"available:orders": {"text": "2"}}] * 2


def test_what_was_asked_before_an_action_and_answered_after_it_is_not_sent(watch: Watch) -> None:
    begun, goes_on = Event(), Event()

    def poll() -> Cells:
        answer = dict(watch.cells)
        begun.set()
        goes_on.wait(PATIENCE)
        return answer

    async def look() -> list[Cells]:
        watched = Watched(poll, "ada")
        asked = asyncio.create_task(watched._ask())
        await asyncio.to_thread(begun.wait, PATIENCE)
        watched.forget()
        goes_on.set()
        await asked
        first = watched.cells
        await watched._ask()
        return [first, watched.cells]

    assert asyncio.run(look()) == [{}, watch.cells]
