"""Every page that a link leads to: no error, no refusal of the policy, and fit for everybody."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser

from tests.browser.conftest import Serve
from tests.browser.full import SECRET, fill_all
from tests.browser.looking import crawl, looking
from tests.web.dashboards import OPERATOR
from xclaim.web import Person

pytestmark = pytest.mark.slow
ONLOOKER = Person(name="<b>eve</b>", may_act=False, may_see_payloads=False)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_page_complains_in_a_wide_window(
    browser: Browser, serve: Serve, database_url: str, scheme: str
) -> None:
    served = serve(database_url)
    fill_all(served.dashboard.engine)

    with looking(browser, width=1920, height=1080, scheme=scheme) as looked:
        opened = crawl(looked, f"{served.address}/")

    assert looked.complaints == []
    assert len(opened) > 10


def test_no_page_complains_on_a_telephone(
    browser: Browser, serve: Serve, database_url: str
) -> None:
    served = serve(database_url)
    fill_all(served.dashboard.engine)

    with looking(browser, width=400, height=800) as looked:
        crawl(looked, f"{served.address}/")

    assert looked.complaints == []


@pytest.mark.parametrize(
    ("person", "options"),
    [(ONLOOKER, {}), (OPERATOR, {"hides_payloads": True})],
    ids=["a person without the right", "a dashboard that hides them"],
)
def test_no_page_sends_a_payload_to_who_may_not_see_it(
    browser: Browser, serve: Serve, database_url: str, person: Person, options: dict[str, bool]
) -> None:
    served = serve(database_url, person=person, **options)
    fill_all(served.dashboard.engine)
    sent: list[str] = []

    with looking(browser) as looked:
        looked.page.on("response", lambda answer: sent.append(answer.text()))
        crawl(looked, f"{served.address}/")

    assert looked.complaints == []
    assert not [text for text in sent if SECRET in text]
