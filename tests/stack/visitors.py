"""Windows of a browser in which people have signed in to the Airflow of the tests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from playwright.sync_api import Browser, Frame, Page, expect

from tests.browser.looking import Looked, looking
from tests.stack.users import PASSWORDS

_PATIENCE = 120_000  # milliseconds
# What Airflow's own pages complain of: the sandbox around every plugin, and 3.1 its router.
_AIRFLOWS = ("can escape its sandboxing", "No `HydrateFallback` element")


class Visitors:
    """Windows of people who have signed in, each with the first look at theirs.

    A window is the same for all tests: each new one would load Airflow's UI again.
    """

    def __init__(self, browser: Browser, airflow: str) -> None:
        self._browser = browser
        self._airflow = airflow
        self._windows: dict[str, Looked] = {}
        self._closing = ExitStack()

    @contextmanager
    def window(self, name: str) -> Iterator[Looked]:
        """Yield the window of somebody; of ours it must have nothing to complain about then."""
        if name not in self._windows:
            self._windows[name] = self._signed_in(name)
        looked = self._windows[name]
        looked.frame = None
        looked.complaints.clear()
        yield looked
        ours = [each for each in looked.complaints if not any(own in each for own in _AIRFLOWS)]
        assert not ours, "\n".join(ours)

    @contextmanager
    def frame(self, name: str, page: str = "plugin/xclaim") -> Iterator[Looked]:
        """Yield the same with a page of Airflow, of which the frame is looked at that is ours."""
        with self.window(name) as looked:
            if not looked.page.url.startswith(f"{self._airflow}/{page}"):
                looked.page.goto(f"{self._airflow}/{page}")
            looked.frame = _frame_in(looked.page)
            yield looked

    def _signed_in(self, name: str) -> Looked:
        """Open a window, and follow the link of the dashboard to sign in, and then back."""
        looked = self._closing.enter_context(looking(self._browser))
        page = looked.page
        page.set_default_timeout(_PATIENCE)
        page.goto(f"{self._airflow}/xclaim/")
        page.get_by_role("link", name="Sign in").click()
        page.locator('[name="username"]').fill(name)
        page.locator('[name="password"]').fill(PASSWORDS[name])
        page.get_by_role("button", name="Sign in").click()
        page.wait_for_url(f"{self._airflow}/plugin/xclaim**")
        return looked

    def __enter__(self) -> Visitors:
        """Let expectations wait as long as a loaded machine may need."""
        expect.set_options(timeout=_PATIENCE)
        return self

    def __exit__(self, *_: object) -> None:
        expect.set_options(timeout=None)
        self._closing.close()


def _frame_in(page: Page) -> Frame:
    """Return the frame as soon as our page is in it, so that no other comes after."""
    expect(page.frame_locator("iframe").locator("main h1")).to_be_visible()
    frame = page.locator("iframe").element_handle().content_frame()
    assert frame is not None
    return frame
