"""Look at a page as a browser, a screen reader and a narrow window do; say what is wrong."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urldefrag, urljoin, urlsplit

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Frame, Page, Response

View = Page | Frame
# WCAG 2.2 at level AA, and what the checker calls good practice.
_RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
_ERRORS = 400
_WIDTHS = (400, 3840)
_SIZES = "() => [document.documentElement.scrollWidth, document.documentElement.clientWidth]"


@dataclass
class Looked:
    """A page in a browser, with everything it complained about.

    ``frame``: what in it is looked at, if not all of it.
    """

    page: Page
    complaints: list[str] = field(default_factory=list)
    frame: Frame | None = None

    @property
    def view(self) -> View:
        """What is looked at."""
        return self.page if self.frame is None else self.frame

    def open(self, address: str) -> Response | None:
        response = self.view.goto(address)
        if response is not None and response.status >= _ERRORS:
            self.complaints.append(f"{address}: {response.status}")
        return response

    def check(self) -> None:
        """Add what a screen reader, or a narrow or wide window, would find wrong here."""
        where = self.view.url
        found: Any = Axe().run(self.view, options={"runOnly": _RULES}).response
        for violation in found["violations"]:
            nodes = "; ".join(node["html"][:160] for node in violation["nodes"][:3])
            self.complaints.append(f"{where}: {violation['id']}: {violation['help']}: {nodes}")
        usual = self.page.viewport_size
        for width in _WIDTHS:
            self.page.set_viewport_size({"width": width, "height": 900})
            has, shown = self.view.evaluate(_SIZES)
            if has > shown:
                self.complaints.append(f"{where}: {has} px in a window of {shown}")
        if usual is not None:
            self.page.set_viewport_size(usual)

    def links(self, below: str) -> Iterator[str]:
        """Yield the addresses below this one that the page leads to."""
        hrefs = self.view.eval_on_selector_all("a[href]", "all => all.map(each => each.href)")
        for href in hrefs:
            if href.startswith(below):
                yield urldefrag(href).url


@contextmanager
def looking(
    browser: Browser, *, width: int = 1280, height: int = 800, scheme: str = "light", **options: Any
) -> Iterator[Looked]:
    """Yield a page that notes errors of scripts, refused requests and what the policy refused."""
    context = browser.new_context(
        viewport={"width": width, "height": height},
        color_scheme=scheme,  # type: ignore[arg-type]  # light or dark
        reduced_motion="reduce",
        **options,
    )
    page = context.new_page()
    looked = Looked(page)
    page.on("console", lambda said: _note(looked, said.type, said.text))
    page.on("pageerror", lambda error: looked.complaints.append(f"{page.url}: {error}"))
    page.on("dialog", lambda dialog: _refuse(looked, dialog))
    try:
        yield looked
    finally:
        context.close()


def _note(looked: Looked, kind: str, text: str) -> None:
    if kind in ("error", "warning"):
        looked.complaints.append(f"{looked.page.url}: {text}")


def _refuse(looked: Looked, dialog: Any) -> None:
    looked.complaints.append(f"{looked.page.url}: a dialog: {dialog.message}")
    dialog.dismiss()


def crawl(looked: Looked, *addresses: str, checks: bool = True) -> Iterator[str]:
    """Open all pages of a dashboard that some lead to, each kind a few times; yield each when open.

    ``checks``: check each kind once.
    """
    waiting, seen, kinds = [*addresses], {*addresses}, dict[str, int]()
    below = urljoin(addresses[0], ".")
    while waiting:
        now = waiting.pop(0)
        kind = _kind(now)
        kinds[kind] = kinds.get(kind, 0) + 1
        if kinds[kind] > _OF_A_KIND:
            continue
        looked.open(now)
        if checks and kinds[kind] == 1:
            looked.check()
        yield now
        for link in looked.links(below):
            if link not in seen:
                seen.add(link)
                waiting.append(link)


def paths(addresses: Iterable[str], below: str) -> set[str]:
    """Return the paths of addresses, as the dashboard below an address knows them."""
    return {urlsplit(each).path.removeprefix(urlsplit(below).path) for each in addresses}


_OF_A_KIND = 2


def _kind(address: str) -> str:
    """Return the path and the names of what is asked, without what they are."""
    parts = urlsplit(address)
    names = sorted(each.partition("=")[0] for each in parts.query.split("&"))
    return f"{parts.path}?{'&'.join(names)}"
