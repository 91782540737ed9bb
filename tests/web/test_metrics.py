"""The metrics of the dashboard: behind the gate, and for who has the token of scrapers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Engine

from tests.looks import PATIENT
from tests.web.dashboards import OPERATOR, Browser, Dashboard, SignedIn, shop
from xclaim import Payloads
from xclaim.errors import InvalidArgumentError
from xclaim.web import Person, Place, create_app
from xclaim.web.alone.scrapers import ScrapersToken

TOKEN = "0123456789abcdef"
BEARER = {"authorization": f"Bearer {TOKEN}"}


def scraped_by(engine: Engine, access: SignedIn, **headers: str) -> Browser:
    place = shop(engine)
    return Browser(create_app(place, ScrapersToken(access, TOKEN)), headers=headers)


def test_who_is_signed_in_sees_the_metrics_of_the_queues(dashboard: Dashboard) -> None:
    dashboard.queue("orders").push(1)

    answer = dashboard.get("metrics")

    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain")
    assert 'xclaim_backlog{bound="exact",queue="orders"} 1.0' in answer.text


def test_the_format_is_that_of_the_header(dashboard: Dashboard) -> None:
    accept = {"accept": "application/openmetrics-text; version=1.0.0"}

    answer = dashboard.browser.get("/metrics", headers=accept)

    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    assert answer.text.endswith("# EOF\n")


def test_scrapes_of_the_only_process_share_what_it_has_counted(dashboard: Dashboard) -> None:
    dashboard.queue("orders").push(1)
    app = create_app(shop(dashboard.engine), SignedIn(), is_only_process=True)
    browser = Browser(app)

    first, second = browser.get("/metrics"), browser.get("/metrics")

    assert 'xclaim_consumed_total{queue="orders"} 0.0' in first.text
    assert first.text == second.text  # within a second it is one look


def test_one_of_several_processes_has_no_counter_that_others_have_too(dashboard: Dashboard) -> None:
    dashboard.queue("orders").push(1)

    scraped = [
        Browser(create_app(shop(dashboard.engine), SignedIn())).get("/metrics").text
        for _ in range(2)
    ]

    assert all('xclaim_claimed{queue="orders"}' in each for each in scraped)
    assert not any("xclaim_consumed" in each for each in scraped)


class Office:
    """One database, in which each person may do something else."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def names(self, person: Person) -> list[str]:
        return ["shop"]

    def open(self, name: str, person: Person) -> Place:
        return Place(
            name=name,
            engine=self._engine,
            payloads=Payloads(),
            may_act=person == OPERATOR,
            timeout=PATIENT,
        )


def test_persons_of_other_rights_share_what_was_counted(
    dashboard: Dashboard, monkeypatch: pytest.MonkeyPatch
) -> None:
    from xclaim.telemetry import prometheus

    made: list[Any] = []
    monkeypatch.setattr(
        prometheus.Exposition, "__init__", remembering(prometheus.Exposition.__init__, made)
    )
    access = SignedIn()
    browser = Browser(create_app(Office(dashboard.engine), access))

    statuses = []
    for person in (OPERATOR, Person(name="eve"), OPERATOR):
        access.person = person
        statuses.append(browser.get("/metrics").status_code)

    assert statuses == [200] * 3
    assert len(made) == 1


def remembering(function: Callable[..., None], calls: list[Any]) -> Callable[..., None]:
    """Return the function, which adds to ``calls`` what it was called on."""

    def remember(of: Any, *arguments: Any, **options: Any) -> None:
        calls.append(of)
        function(of, *arguments, **options)

    return remember


def test_who_has_the_token_reads_the_metrics(unused: Dashboard) -> None:
    scraper = scraped_by(unused.engine, SignedIn(None), **BEARER)

    answer = scraper.get("/metrics")

    assert answer.status_code == 200
    assert "xclaim_up 1.0" in answer.text


@pytest.mark.parametrize(
    "path", ["/", "/queue", "/metrics/", "/metrics/x", "/healthz/../", "/live"]
)
def test_the_token_opens_nothing_else(unused: Dashboard, path: str) -> None:
    scraper = scraped_by(unused.engine, SignedIn(None), **BEARER)

    assert scraper.get(path).status_code == 401


@pytest.mark.parametrize(
    "authorization",
    ["", "Bearer", "Bearer ", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", f"Basic {TOKEN}", TOKEN],
)
def test_without_the_token_nothing_is_read(unused: Dashboard, authorization: str) -> None:
    scraper = scraped_by(unused.engine, SignedIn(None), authorization=authorization)

    answer = scraper.get("/metrics")

    assert answer.status_code == 401
    assert "xclaim_" not in answer.text


def test_with_a_token_for_scrapers_people_sign_in_as_before(unused: Dashboard) -> None:
    browser = scraped_by(unused.engine, SignedIn())

    assert browser.get("/metrics").status_code == 200
    assert browser.get("/").status_code == 200


def test_a_short_token_is_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="at least 16 characters"):
        ScrapersToken(SignedIn(), "short")
