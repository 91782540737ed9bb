"""A page that asks, answered as a browser does it: with all that its form carries."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any
from urllib.parse import parse_qs, urlsplit

from httpx import Response

from tests.web.dashboards import Dashboard


@dataclass
class Form(HTMLParser):
    """The form of a page that posts: where to, and the fields it carries."""

    html: str
    address: str | None = None
    fields: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__init__()
        self._is_open = False
        self.feed(self.html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "form" and given.get("method") == "post" and self.address is None:
            self.address, self._is_open = given["action"], True
        elif tag == "input" and self._is_open and given.get("type") != "checkbox":
            self.fields[given["name"]] = _as_sent(given.get("value", ""))

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._is_open = False


def _as_sent(value: str) -> str:
    """Return a value of a form as browsers send it: each end of a line in it is CR LF."""
    return re.sub("\r\n?|\n", "\r\n", value)


def form_of(dashboard: Dashboard, page: str, **query: Any) -> Form:
    """Return the form of a page that asks."""
    shown = dashboard.get(page, **query)
    assert shown.status_code == 200, shown.text
    form = Form(shown.text)
    assert form.address is not None, shown.text
    return form


def send(dashboard: Dashboard, form: Form, **fields: Any) -> Response:
    """Send a form of a page of ours."""
    assert form.address is not None
    return dashboard.browser.post(
        "/" + form.address.removeprefix("./"),
        data={**form.fields, **fields},
        headers={"sec-fetch-site": "same-origin"},
    )


def do(
    dashboard: Dashboard, page: str, /, fields: dict[str, Any] | None = None, **query: Any
) -> str:
    """Ask and answer; return what is said on the page that somebody then comes to."""
    return said_after(
        dashboard, send(dashboard, form_of(dashboard, page, **query), **(fields or {}))
    )


def said_after(dashboard: Dashboard, answer: Response) -> str:
    """Return what an action has said, on the page it leads to."""
    assert answer.status_code == 303, answer.text
    location = answer.headers["location"]
    page = dashboard.browser.get("/" + location.removeprefix("./"))
    assert page.status_code == 200, page.text
    assert parse_qs(urlsplit(location).query)["flash"]
    _, _, rest = page.text.partition('<p class="flash" role="status">')
    return rest.partition("</p>")[0].strip()
