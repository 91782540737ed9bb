"""The pages of queues: what needs somebody first, and nothing that a row says is taken for HTML."""

from __future__ import annotations

import gc
import re
import weakref
from datetime import UTC, datetime, timedelta
from html import unescape
from typing import Any

import pytest
from markupsafe import escape
from sqlalchemy import text

from tests.web.dashboards import Dashboard, dashboard_of
from xclaim import Queue, create_engine
from xclaim.observing.values import Chart, Flow
from xclaim.retry import Retry
from xclaim.web.cells import flow_cells
from xclaim.web.charts import bars_of, spark_path

HOSTILE = [
    "<script>alert(1)</script>",
    "\"onmouseover='alert(1)",
    "</td></table><h1>gone",
    "{{ 7 * 7 }}{% raw %}",
    "../../etc/passwd?x=1&y=2#z",
    "javascript:alert(1)",
    "örders ☕ 日本",
    "evil\u202etxt.exe",  # no verb takes this and the next, and SQL of others may write them
    "a b\tc",
]
ROW = re.compile(r'<tr data-queue="([^"]*)">(.*?)</tr>', re.DOTALL)


def rows_of(page: str) -> dict[str, str]:
    """Return the rows of the list by the names of their queues, in their order."""
    return {unescape(name): row for name, row in ROW.findall(page)}


def push_as(dashboard: Dashboard, name: str) -> None:
    """Push to a queue of this name, also one that no verb would push to: SQL of others may."""
    message = dashboard.queue("harmless").push(1)
    renamed = "UPDATE xclaim_message SET queue = :name, origin_queue = :name WHERE id = :id"
    with dashboard.engine.begin() as connection:
        connection.execute(text(renamed), {"name": name, "id": message.id})


def cell(page: str, key: str) -> str:
    found = re.search(rf'data-cell="{re.escape(key)}"[^>]*>([^<]*)<', page)
    assert found is not None, key
    return unescape(found.group(1))


def test_a_queue_is_listed_with_what_it_has(dashboard: Dashboard) -> None:
    orders = dashboard.queue("orders")
    orders.push_many([{"id": number} for number in range(5)])
    orders.push({"id": 9}, delay=timedelta(hours=1))
    orders.claim()

    page = dashboard.get("queues").text

    assert [cell(page, f"{key}:orders") for key in ("available", "delayed", "claimed", "dead")] == [
        "4",
        "1",
        "1",
        "0",
    ]
    assert cell(page, "verdict:orders") == "running"


def test_what_fails_stands_before_what_is_idle(dashboard: Dashboard) -> None:
    idle = dashboard.queue("a-idle")
    idle.push(1)
    claimed = idle.claim()
    assert claimed is not None
    idle.ack(claimed)
    failing = Queue("z-failing", dashboard.engine, retry=Retry(max_attempts=1))
    failing.push(1)
    claimed = failing.claim()
    assert claimed is not None
    failing.release(claimed, error="ValueError: no")

    page = dashboard.get("queues").text

    assert list(rows_of(page)) == ["z-failing", "a-idle"]


def test_a_heading_sorts_and_says_so(dashboard: Dashboard) -> None:
    for name, messages in (("few", 1), ("many", 3), ("some", 2)):
        dashboard.queue(name).push_many(list(range(messages)))

    down, up = dashboard.get("queues", sort="-available"), dashboard.get("queues", sort="available")
    by_name, nonsense = dashboard.get("queues", sort="name"), dashboard.get("queues", sort="x'--")

    assert list(rows_of(down.text)) == ["many", "some", "few"]
    assert list(rows_of(up.text)) == ["few", "some", "many"]
    assert list(rows_of(by_name.text)) == ["few", "many", "some"]
    assert 'aria-sort="descending"' in down.text
    assert nonsense.status_code == 200


def test_a_name_filters(dashboard: Dashboard) -> None:
    for name in ("orders", "reorders", "parcels"):
        dashboard.queue(name).push(1)

    found, nothing = dashboard.get("queues", named="order"), dashboard.get("queues", named="%_")

    assert sorted(rows_of(found.text)) == ["orders", "reorders"]
    assert rows_of(nothing.text) == {}
    assert "No queue is like that" in nothing.text


def test_a_list_goes_on_by_name(dashboard: Dashboard, monkeypatch: pytest.MonkeyPatch) -> None:
    from xclaim.web.pages import queues

    monkeypatch.setattr(queues, "LIMIT", 2)
    for name in ("a", "b", "c"):
        dashboard.queue(name).push(1)

    first = dashboard.get("queues")
    led_to = re.search(r'href="\./([^"]*)" rel="next"', first.text)
    assert led_to is not None
    second = dashboard.get(unescape(led_to.group(1)))

    assert list(rows_of(first.text)) == ["a", "b"]
    assert list(rows_of(second.text)) == ["c"]
    assert 'rel="first"' in second.text


def test_an_empty_database_says_how_a_queue_begins(dashboard: Dashboard) -> None:
    assert "There is no queue yet" in dashboard.get("queues").text


def test_flows_are_asked_for_by_name(dashboard: Dashboard) -> None:
    orders = dashboard.queue("orders")
    orders.push_many([1, 2, 3])
    orders.ack_many(orders.claim_many(3))

    cells = dashboard.get("flows", name=["orders", "unknown", "orders"]).json()

    assert set(cells) >= {"rate:orders", "waiting:orders", "work:orders", "spark:orders"}
    assert cells["spark:orders"]["label"].startswith("3 consumed in ")
    assert cells["spark:orders"]["path"].startswith("M0.0 ")


def test_of_those_in_view_is_told_what_a_glance_does_not_see(dashboard: Dashboard) -> None:
    orders = dashboard.queue("orders")
    orders.push_many(range(200))
    orders.release(orders.claim_many(1)[0], error="broken")
    for number in range(11):
        dashboard.queue(f"other {number:02}").push(1)

    flow = dashboard.get("flows", name=["orders"]).json()
    listed = dashboard.get("queues").text

    assert set(flow) == {"rate:orders", "waiting:orders", "work:orders", "spark:orders"}
    assert cell(listed, "available:orders") == "199"
    assert cell(listed, "retrying:orders") in ("1", "1+")  # of SQLite nothing is remembered


def test_an_engine_that_is_replaced_is_not_kept_for_its_flows(dashboard: Dashboard) -> None:
    dashboard.queue("orders").push(1)
    engine = create_engine(dashboard.engine.url)
    other = Dashboard(engine)
    other.get("flows", name=["orders"])
    flows = other.app.state.flows
    assert engine in flows._kept

    assert isinstance(flows._kept, weakref.WeakKeyDictionary)
    assert engine not in held_by(vars(flows._kept)["data"])  # others may hold it for a moment
    engine.dispose()


def held_by(container: object) -> list[object]:
    """Return what a container holds, and the containers in it."""
    found, left = [], [container]
    while left:
        inside = gc.get_referents(left.pop())
        found += inside
        left += [each for each in inside if isinstance(each, dict | list | tuple | set)]
    return found


def test_a_page_has_no_flow_and_the_queue_s_own_has(dashboard: Dashboard) -> None:
    orders = dashboard.queue("orders")
    orders.push(1)
    orders.ack_many(orders.claim_many(1))

    listed, own = dashboard.get("queues").text, dashboard.get("queue", name="orders").text

    assert cell(listed, "rate:orders") == "…"
    assert cell(own, "rate:orders") not in ("…", "–")  # noqa: RUF001
    assert "Work: from claimed to consumed" in own


def test_hostile_names_are_text_on_every_page(dashboard: Dashboard) -> None:
    for name in HOSTILE:
        push_as(dashboard, name)

    listed = dashboard.get("queues")
    links = re.findall(r'<th scope="row"><a href="\./(queue\?name=[^"]*)"', listed.text)
    own = [dashboard.get(unescape(link)) for link in links]

    assert sorted(rows_of(listed.text)) == sorted(HOSTILE)
    assert {page.status_code for page in (listed, *own)} == {200}
    assert len(own) == len(HOSTILE)
    for page in (listed, *own):
        _assert_harmless(page.text)
    for name in HOSTILE:
        assert sum(f'data-cell="dead:{escape(name)}"' in page.text for page in own) == 1


def test_hostile_errors_and_claimants_are_text(dashboard: Dashboard) -> None:
    queue = Queue("orders", dashboard.engine, retry=Retry(max_attempts=2))
    for said in HOSTILE:
        queue.push_many([said, said, said])
        _held, failing, dead = queue.claim_many(3, claimed_by=said, lease=timedelta(hours=1))
        queue.release(failing, error=f"{said}: {said}")
        queue.release(dead, error=f"{said}: {said}", delay=timedelta(0))
        again = queue.claim(claimed_by=said)
        assert again is not None
        queue.release(again, error=f"{said}: {said}")

    page = dashboard.get("queue", name="orders")

    assert page.status_code == 200
    assert "alert(1)" in page.text
    _assert_harmless(page.text)


def _assert_harmless(page: str) -> None:
    """Assert that nothing in the page came from a row as HTML, or can turn its text."""
    scripts = re.findall(r'<script(?: src="\./static/(?:theme|dashboard)\.js\?v=\w+")?[^>]*>', page)
    assert len(scripts) == page.count("<script") <= 2
    assert all("./static/" in script for script in scripts)
    assert re.search(r"<[^>]*\son\w+\s*=", re.sub(r'"[^"]*"', '""', page)) is None
    assert re.search(r"<[^>]*\sstyle\s*=", page) is None
    assert "<h1>gone" not in page
    assert "49" not in re.findall(r"<bdi>([^<]*)</bdi>", page)
    assert re.search(r'(?:href|src|action)="\s*(?:javascript|data|https?):', page) is None
    visible = re.sub(r'data-[\w-]+="[^"]*"|value="[^"]*"', "", page)
    assert "\u202e" not in visible


def test_a_queue_that_is_not_there_is_said(dashboard: Dashboard) -> None:
    answers = [dashboard.get("queue", name=name) for name in ("", "unknown", "<b>")]

    assert [answer.status_code for answer in answers] == [404, 404, 404]
    assert not any("<b>" in answer.text for answer in answers)


def test_charts_say_in_words_what_they_show(dashboard: Dashboard) -> None:
    orders = dashboard.queue("orders")
    orders.push_many([1, 2])
    orders.ack_many(orders.claim_many(2))

    pages = [dashboard.get("queue", name="orders", span=span).text for span in ("1h", "7d", "x'")]

    for page in pages:
        labels = re.findall(r'<svg viewBox="0 0 600 120"[^>]*aria-label="([^"]*)"', page)
        assert [label.partition(" in ")[0] for label in labels] == [
            "Consumed: 2 consumed",
            "Pushed: 2 pushed",
            "New dead letters: 0 became dead letters",
        ]
    assert ", peak 2 a minute at " in pages[0]


def test_the_stream_of_a_page_is_that_page_s(dashboard: Dashboard) -> None:
    dashboard.queue("a&b").push(1)

    listed, own = dashboard.get("queues", named="a&").text, dashboard.get("queue", name="a&b").text

    assert 'data-live="./events?topic=queues&amp;named=a%26"' in listed
    assert 'data-live="./events?topic=queue&amp;name=a%26b"' in own


def test_a_person_who_may_only_look_is_told_so(database_url: str) -> None:
    with dashboard_of(database_url, read_only=True) as dashboard:
        dashboard.queue("orders").push(1)
        page = dashboard.get("queue", name="orders").text

    assert '<span class="badge">read-only</span>' in page


@pytest.mark.parametrize("value", [0, 1, 7])
def test_every_value_of_a_line_is_within_its_frame(value: int) -> None:
    points = re.findall(r"([\d.]+) ([\d.]+)", spark_path([value, 0, value * 2]))

    assert [x for x, _ in points] == ["0.0", "50.0", "100.0"]
    assert all(0 <= float(y) <= 24 for _, y in points)


def test_a_table_that_is_wide_can_be_scrolled_by_keyboard(dashboard: Dashboard) -> None:
    dashboard.queue("orders").push(1)

    page: Any = dashboard.get("queues").text

    assert re.search(r'<div class="scrolls" role="region" tabindex="0" aria-label="[^"]+">', page)
    assert page.count("<caption>") == page.count("<table")
    assert page.count('<th scope="') == page.count("<th ")


@pytest.mark.parametrize(
    ("is_complete", "is_estimate", "said"),
    [(True, False, "1,234"), (False, False, "at least 1,234"), (False, True, "about 1,200")],
)
def test_how_sure_the_number_of_a_chart_is_stands_beside_it(
    is_complete: bool, is_estimate: bool, said: str
) -> None:
    chart = Chart(
        begins_at=datetime(2026, 11, 27, tzinfo=UTC),
        step=timedelta(minutes=1),
        values=(0, 1_234),
        is_complete=is_complete,
        is_estimate=is_estimate,
    )
    flow = Flow(consumed_per_minute=617.0, consumed=chart, waiting=None, work=None)

    bars = bars_of(chart, "consumed")
    cells = flow_cells("orders", flow)

    assert bars.summary.startswith(f"{said} consumed in 2 min")
    assert bool(bars.note) is not is_complete
    assert cells["spark:orders"]["label"] == f"{said} consumed in 2 minutes"
    rate = said.replace("1,234", "617").replace("1,200", "620")
    assert cells["rate:orders"]["text"] == rate


def test_what_needs_somebody_stands_beside_the_verdict_and_columns_say_what_they_mean(
    dashboard: Dashboard,
) -> None:
    dashboard.queue("orders").push(1)

    page = dashboard.get("queues").text
    headings = page.partition("<thead>")[2].partition("</thead>")[0]

    places = [headings.index(f">{name}</a>") for name in ("Verdict", "Dead", "Lapsed", "Available")]
    assert places == sorted(places)
    assert 'title="Of the claimed: the lease is over' in headings
    assert "<dt>Lapsed</dt>" in page


def test_what_there_is_nothing_of_is_not_offered(dashboard: Dashboard) -> None:
    dashboard.queue("orders").push(1)

    page = dashboard.get("queue", name="orders").text
    redrive = dashboard.get("redrive", queue="orders").text

    assert 'href="./redrive?' not in page
    assert 'href="./expire?' not in page
    assert "(there are no dead letters)" in page
    assert "(no claim has lapsed)" in page
    assert "orders has no dead letter that could go back." in redrive


def test_the_host_of_a_task_is_shown_beside_it(dashboard: Dashboard) -> None:
    queue = dashboard.queue("orders")
    queue.push(1)
    queue.claim(claimed_by="packer/run_1/pack[0]#1@worker-7")

    pages = [dashboard.get("claims").text, dashboard.get("message", id=1).text]

    assert not [page for page in pages if "<bdi>@worker-7</bdi>" not in page]
    task = "<bdi>packer/run_1</bdi>/<bdi>pack[0]#1</bdi>"
    assert not [page for page in pages if task not in page]
