"""Where somebody goes on after an action: the page he came from, if it is one of ours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.responses import Response

    from xclaim.web.visits import Visit

# The pages, and which of their fields says what they show.
_PAGES = {
    "messages": "filter",
    "message": "id",
    "dead-letters": "queue",
    "claims": "queue",
    "queue": "name",
    "queues": "named",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class WayBack:
    """A page of ours, and what it shows."""

    page: str
    to: str

    def without_the_message(self) -> WayBack:
        """Return the way to where there still is something when the message is gone."""
        return WayBack(page="messages", to="") if self.page == "message" else self

    def url(self, visit: Visit) -> str:
        """Return its address."""
        return visit.url(self.page, **self._query)

    def redirect(self, visit: Visit, *, flash: str) -> Response:
        """Return the way there, with what is to be said."""
        return visit.redirect(self.page, flash=flash, **self._query)

    @property
    def _query(self) -> dict[str, str]:
        return {_PAGES[self.page]: self.to}


def way_back(page: str, to: str, *, otherwise: str = "messages") -> WayBack:
    """Return the way to the page of this name, which a form or an address says; else another."""
    if page not in _PAGES:
        return WayBack(page=otherwise, to="")
    return WayBack(page=page, to=to[:2_000])
