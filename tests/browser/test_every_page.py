"""Every page: a link leads to it, no error, no refusal of the policy, and fit for everybody."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser

from tests.browser.conftest import Serve
from tests.browser.full import SECRET, SECRET_ERROR, fill_all
from tests.browser.looking import crawl, looking, paths
from tests.browser.shops import pages_of, pages_to_look_at
from tests.web.dashboards import OPERATOR
from xclaim.web import Person

pytestmark = pytest.mark.slow
ONLOOKER = Person(name="<b>eve</b>", may_act=False, may_see_payloads=False)


@pytest.mark.parametrize(
    ("database_url", "scheme"),
    [("postgresql", "light"), ("sqlite", "dark")],
    indirect=["database_url"],
)
def test_no_page_complains(browser: Browser, serve: Serve, database_url: str, scheme: str) -> None:
    served = serve(database_url)
    fill_all(served.dashboard.engine)

    with looking(browser, scheme=scheme) as looked:
        opened = list(crawl(looked, *served.ways_in))

    assert not looked.complaints, "\n".join(looked.complaints)
    assert paths(opened, served.address) == pages_of(served.dashboard.app)


@pytest.mark.parametrize(
    ("database_url", "person", "options"),
    [("postgresql", ONLOOKER, {}), ("sqlite", OPERATOR, {"hides_payloads": True})],
    indirect=["database_url"],
    ids=["a person without the right", "a dashboard that hides them"],
)
def test_no_page_sends_a_payload_or_an_error_to_who_may_not_see_it(
    browser: Browser, serve: Serve, database_url: str, person: Person, options: dict[str, bool]
) -> None:
    served = serve(database_url, person=person, **options)
    fill_all(served.dashboard.engine)

    with looking(browser) as looked:
        opened = list(crawl(looked, *served.ways_in, checks=False))

    assert not looked.complaints, "\n".join(looked.complaints)
    assert pages_to_look_at(served.dashboard.app) <= paths(opened, served.address)
    assert SECRET not in served.recorded.sent
    assert SECRET_ERROR not in served.recorded.sent
