"""The metrics of a place, for Prometheus: as ``xclaim metrics`` has them."""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING

from starlette.responses import Response

from xclaim.web.failures import PageNotFoundError
from xclaim.web.routes import page

if TYPE_CHECKING:
    from sqlalchemy import Engine
    from starlette.routing import Route

    from xclaim.telemetry.prometheus import Exposition
    from xclaim.web.visits import Visit

    Table = tuple[Engine, str | None]

_NEEDED = "metrics need the package prometheus-client: install xclaim[web], which brings it"


class Metrics:
    """The page, and for each place what counts from scrape to scrape: one for all who scrape.

    ``counts``: whether it does. Not in one of several processes: each has a counter of its own.
    """

    def __init__(self, *, counts: bool) -> None:
        self._counts = counts
        self._expositions: dict[str, tuple[Table, Exposition]] = {}
        self._lock = Lock()

    @property
    def route(self) -> Route:
        """Return its route."""
        return page("/metrics", self.show)

    def show(self, visit: Visit) -> Response:
        """Show the metrics as they are asked for; a database that is down is one of them."""
        scrape = self._exposition_of(visit).scrape(visit.request.headers.get("accept"))
        return Response(scrape.body, headers={"content-type": scrape.content_type})

    def _exposition_of(self, visit: Visit) -> Exposition:
        try:
            from xclaim.telemetry.prometheus import Exposition
        except ImportError as error:
            raise PageNotFoundError(_NEEDED) from error
        place = visit.place
        table = place.engine, place.schema  # not who looks: others may do less in the same place
        with self._lock:
            known, exposition = self._expositions.get(place.name, (None, None))
            if exposition is None or known != table:  # it may lead elsewhere by now
                exposition = Exposition(visit.observer, counts=self._counts)
                self._expositions[place.name] = table, exposition
            return exposition
