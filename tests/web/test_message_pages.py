"""Messages, a message, dead letters, claims, doctor and audit: what they show, and to whom."""

from __future__ import annotations

import ast
import itertools
import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from html import unescape
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import Engine, text
from starlette.routing import Route

from tests.hostile.rows import row
from tests.looks import PATIENT
from tests.people import People, people
from tests.web.asking import form_of, send
from tests.web.dashboards import OPERATOR, Browser, Dashboard, SignedIn, dashboard_of
from xclaim import InvalidArgumentError, Queue, Retry, create_engine
from xclaim.errors import ObservationTimeoutError
from xclaim.observing import holding, lives
from xclaim.observing.asking import Question
from xclaim.operations import migrate, ordering
from xclaim.web import OnePlace, Person, Place, create_app
from xclaim.web.actions import Hand, withdraw
from xclaim.web.airflow_pages import AirflowPages

ONCE = Retry(max_attempts=1)
ENDED = timedelta(0)
NO_PAGES = ("/events", "/static/{name}")
SCRIPT = "<script>alert(1)</script>"
HOSTILE = f"{SCRIPT}\"'><img src=x onerror=y>\u202e\u2066 😀 javascript:alert(1)"
PAGES = (
    "messages",
    "messages?filter=status:dead",
    "message?id=1",
    "message?id=2",
    "message?id=3",
    "dead-letters",
    "dead-letters?queue=orders",
    "claims",
    "claims?queue=orders",
    "doctor",
    "audit",
)
ASKING = (
    "redrive?filter=status:dead",
    "withdraw?filter=status:available",
    "release?filter=status:claimed",
    "expire?queue=orders",
    "pause?queue=orders",
    "push?queue=orders",
)


@pytest.fixture
def orders(dashboard: Dashboard) -> Queue[Any]:
    return dashboard.queue("orders")


def fill(queue: Queue[Any], value: str = "secret") -> None:
    """Make message 1 a dead letter, 2 claimed and lapsed, 3 available."""
    queue.push({"v": value}, unique_key=value[:100], headers={"h": value[:1000]})
    claim = queue.claim(claimed_by=value[:100])
    assert claim is not None
    queue.release(claim, error=ValueError(f"{value}\nof two lines"), retry=ONCE)
    queue.push({"v": value})
    queue.claim(claimed_by=value[:100], lease=ENDED)
    queue.push({"v": value})


@pytest.fixture(scope="module")
def filled(new_engine: Callable[[], Engine]) -> Engine:
    engine = new_engine()
    fill(Queue("orders", engine))
    return engine


@pytest.fixture(scope="module")
def hostile(new_engine: Callable[[], Engine]) -> Engine:
    engine = new_engine()
    fill(Queue("orders", engine), HOSTILE)
    return engine


@pytest.fixture(scope="module")
def hidden(new_engine: Callable[[], Engine]) -> Engine:
    """With a text where only payloads, headers and errors are."""
    engine = new_engine()
    queue = Queue("orders", engine, retry=ONCE)
    queue.push({"v": "hunter2"}, headers={"h": "hunter2"})
    claim = queue.claim()
    assert claim is not None
    queue.release(claim, error=ValueError("hunter2"))
    queue.push({"v": "hunter2"})
    queue.claim(lease=ENDED)
    queue.push({"v": "hunter2"})
    return engine


@pytest.fixture(scope="module")
def held_by_task(new_engine: Callable[[], Engine]) -> Engine:
    engine = new_engine()
    queue = Queue("orders", engine)
    queue.push(1)
    queue.claim(claimed_by="d/r/1/t[3]#1@host")
    return engine


@pytest.mark.parametrize("page", [*PAGES, *ASKING])
def test_each_page_is_shown(filled: Engine, page: str) -> None:
    answer = Dashboard(filled).get(page)

    assert answer.status_code == 200, answer.text
    assert answer.text.count("<h1>") == 1
    assert "style=" not in answer.text
    assert " on" + "click" not in answer.text


@pytest.mark.parametrize("page", [*PAGES, *ASKING])
def test_what_others_have_written_stays_text(hostile: Engine, page: str) -> None:
    shown = Dashboard(hostile).get(page).text

    assert SCRIPT not in shown
    assert "<img" not in shown
    assert not {"\u202e", "\u2066"} & {*shown}
    assert 'href="javascript:' not in shown


def test_a_queue_of_a_hostile_name_can_be_looked_at_and_acted_on(dashboard: Dashboard) -> None:
    name = "a&b=c#?/%2e ../<script>'\"é"
    fill(dashboard.queue(name))

    pages = [
        dashboard.get("dead-letters", queue=name),
        dashboard.get("claims", queue=name),
        dashboard.get("pause", queue=name),
        dashboard.get("redrive", queue=name),
    ]

    assert [page.status_code for page in pages] == [200] * 4
    assert "Redrive 1 dead letter?" in pages[-1].text
    assert not [page for page in pages if "<script>'" in page.text]


@pytest.mark.parametrize("page", ["pause", "unpause", "expire", "redrive", "completions"])
def test_a_name_that_only_a_hand_writes_turns_no_title_around(
    dashboard: Dashboard, page: str
) -> None:
    name = "a\u202eb"
    with dashboard.engine.begin() as connection:
        row(queue=f"'{name}'", origin_queue=f"'{name}'").write(connection)

    query = {"text": "queue:"} if page == "completions" else {"queue": name}
    shown = dashboard.get(page, **query)

    assert shown.status_code == 200
    says = [each["says"] for each in shown.json()] if page == "completions" else [shown.text]
    assert not ["\u202e" for each in says if "\u202e" in each.replace(f'value="{name}"', "")]


def test_text_of_a_megabyte_is_cut_in_lists(dashboard: Dashboard, orders: Queue[Any]) -> None:
    fill(orders, "x" * 1_000_000)

    sizes = [len(dashboard.get(page).text) for page in PAGES]

    assert max(sizes) < 2_000_000
    assert len(dashboard.get("messages").text) < 50_000
    assert len(dashboard.get("dead-letters").text) < 50_000


def test_the_place_of_what_is_wrong_in_a_filter_is_shown(dashboard: Dashboard) -> None:
    answer = dashboard.get("messages", filter='queue:orders stat:"<b>"')

    assert answer.status_code == 400
    assert 'aria-invalid="true"' in answer.text
    assert "(at character 14)" in answer.text
    assert "<mark>s</mark>" in answer.text
    assert 'value="queue:orders stat:&#34;&lt;b&gt;&#34;"' in answer.text


@pytest.mark.parametrize(
    "given", ['"', "payload.", ":", "-", "\x00", "a" * 3_000, "id:" + "9" * 40, "\u202e:x"]
)
def test_no_filter_breaks_the_page(filled: Engine, given: str) -> None:
    answer = Dashboard(filled).get("messages", filter=given)

    assert answer.status_code == 400
    assert "filter-wrong" in answer.text


def test_older_messages_are_a_page_further(dashboard: Dashboard, orders: Queue[Any]) -> None:
    orders.push_many(range(60))

    first = dashboard.get("messages", filter="queue:orders")
    _, _, rest = first.text.partition('rel="next"')
    link = first.text.rpartition('rel="next"')[0].rpartition('href="')[2].partition('"')[0]
    second = dashboard.browser.get("/" + link.replace("&amp;", "&").removeprefix("./"))

    assert rest
    assert first.text.count("message?id=") == 50
    assert second.text.count("message?id=") == 10
    assert 'value="queue:orders"' in second.text


def test_where_there_is_nothing_the_page_says_what_to_do(dashboard: Dashboard) -> None:
    assert "There is no message yet." in dashboard.get("messages").text
    assert "No message fits." in dashboard.get("messages", filter="key:none").text
    assert "There are none" in dashboard.get("dead-letters").text
    assert "Nobody holds a message" in dashboard.get("claims").text
    assert dashboard.get("message", id="7").status_code == 404
    assert dashboard.get("pause", queue="none").status_code == 404


@pytest.mark.parametrize("given", ["", "x", "-1", "0", "1.5", "9" * 5_000, "\u0661", HOSTILE])
def test_what_is_no_id_is_not_found(filled: Engine, given: str) -> None:
    answer = Dashboard(filled).get("message", id=given)

    assert answer.status_code == 404
    assert SCRIPT not in answer.text


def test_a_message_of_a_schema_is_read_there(empty_postgresql_url: str) -> None:
    engine = create_engine(empty_postgresql_url)
    migrate.upgrade(engine, schema='the "shop"')
    with Queue("orders", engine, schema='the "shop"') as queue:
        id_ = queue.push({"id": 17}).id
    place = Place(name="shop", engine=engine, schema='the "shop"', timeout=PATIENT)

    page = Browser(create_app(OnePlace(place), SignedIn())).get(f"/message?id={id_}").text

    shown = [unescape(each) for each in re.findall(r'readonly value="([^"]*)"', page)]
    in_python, in_sql = shown
    with engine.connect() as connection:
        assert connection.execute(text(in_sql)).one().id == id_
    assert in_python == f'Queue("orders", url, schema="the \\"shop\\"").get({id_})'
    engine.dispose()


@pytest.mark.parametrize("name", ['💡 "of an é', "a\\b's", "100 %"])
def test_what_is_to_be_copied_names_the_queue_in_python(dashboard: Dashboard, name: str) -> None:
    id_ = dashboard.queue(name).push(1).id

    page = dashboard.get("message", id=id_).text

    in_python = unescape(re.findall(r'readonly value="([^"]*)"', page)[0])
    parts = [*ast.walk(ast.parse(in_python))]
    assert name in [each.value for each in parts if isinstance(each, ast.Constant)]


def test_headers_that_were_not_read_in_time_are_not_said_to_be_hidden(
    dashboard: Dashboard, orders: Queue[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    id_ = orders.push(1, headers={"h": 1}).id
    read = lives._read

    def slow(question: Question, message_id: int, name: str) -> Any:
        if name == "headers":
            raise ObservationTimeoutError("headers", 2.0)
        return read(question, message_id, name)

    monkeypatch.setattr(lives, "_read", slow)

    shown = dashboard.get("message", id=id_).text.partition("<h2>Headers")[2].partition("<h2>")[0]

    assert "it is so large that it was not read within 2 s" in shown
    assert "role" not in shown


def test_the_life_of_a_message_is_told_in_order(dashboard: Dashboard, orders: Queue[Any]) -> None:
    fill(orders, "boom")

    shown = dashboard.get("message", id=1).text

    moments = [shown.index(f"<strong>{what}</strong>") for what in ("Pushed", "Failed", "Died")]
    assert moments[0] < min(moments[1:])
    assert "<details>" in shown
    assert "of two lines" in shown
    assert "Queue(&#34;orders.dead&#34;, url).get(1)" in shown


RUN = "https://airflow.example/ui/dags/d/runs/r%2F1"


@pytest.mark.parametrize(
    ("page", "query"),
    [
        ("message", {"id": 1}),
        ("claims", {}),
        ("queue", {"name": "orders"}),
        ("task", {"dag": "d", "run": "r/1", "task": "t", "map": "3"}),
    ],
)
def test_a_task_and_its_run_lead_to_airflow_where_it_is_named(
    held_by_task: Engine, page: str, query: dict[str, Any]
) -> None:
    linked = Dashboard(held_by_task, options={"airflow_url": "https://airflow.example/ui/"})

    shown, alone = linked.get(page, **query).text, Dashboard(held_by_task).get(page, **query).text

    assert (
        f'href="{RUN}" data-leaves><bdi>d/r/1</bdi></a>/<a href="{RUN}/tasks/t/mapped/3"' in shown
    )
    assert "data-leaves" not in alone
    assert "d/r/1" in alone


def test_a_run_alone_leads_to_airflow(held_by_task: Engine) -> None:
    linked = Dashboard(held_by_task, options={"airflow_url": "/ui"})

    shown = linked.get("task", dag="d", run="r/1").text

    assert '<a href="/ui/dags/d/runs/r%2F1" data-leaves>' in shown


def test_names_that_no_address_can_have_are_no_links(unused: Dashboard) -> None:
    linked = Dashboard(unused.engine, options={"airflow_url": "/ui"})

    pages = [
        linked.get("task", dag=dag, run=run, task="t").text
        for dag, run in (("..", "r"), ("d", "."))
    ]

    assert not [page for page in pages if "data-leaves" in page]


@pytest.mark.parametrize(
    "url",
    [
        "javascript:alert(1)",
        "JavaScript://airflow.example/%0aalert(1)",
        "data:text/html,x",
        "ftp://airflow.example",
        "airflow.example",
        "//evil.example",
        "/\\evil.example",
        "https://",
        "https:airflow.example",
        "https://user:hush@airflow.example",
        "https://airflow.example:port",
        "https://airflow.example/?next=",
        "https://airflow.example/#",
        " https://airflow.example",
        "https://airflow.example\n",
        "",
    ],
)
def test_what_is_no_address_of_airflow_is_refused(url: str) -> None:
    with pytest.raises(InvalidArgumentError, match="the URL of Airflow cannot be used"):
        AirflowPages(url)


@pytest.mark.parametrize(
    ("person", "options"),
    [
        (OPERATOR, {"hides_payloads": True}),
        (Person(name="eve", may_act=True, may_see_payloads=False), {}),
    ],
    ids=["a dashboard that hides them", "a person without the right"],
)
def test_no_page_sends_what_is_hidden_to_the_browser(
    database_url: str, person: Person, options: dict[str, bool]
) -> None:
    with dashboard_of(database_url, **options) as hiding:
        hiding.access.person = person
        queue = hiding.queue("orders")
        task = {"dag_id": "d", "run_id": "r", "task_id": "t", "map_index": -1, "try_number": 1}
        queue.push_many([{"v": "hunter2"}] * 4, headers={"h": "hunter2", **task})
        for retry in (ONCE, Retry(), Retry()):
            claim = queue.claim(claimed_by="d/r/t#1@host")
            assert claim is not None
            queue.release(claim, error=ValueError("hunter2 as an error"), retry=retry)
        queue.claim(claimed_by="d/r/t#1@host", lease=ENDED)

        queries = ("", "?name=orders", "?queue=orders", "?dag=d&run=r", "?dag=d&run=r&task=t")
        paths = [route.path for route in hiding.app.routes if isinstance(route, Route)]
        addresses = [
            *(path[1:] + query for path in paths if path not in NO_PAGES for query in queries),
            *PAGES,
            *ASKING,
            *(f"message?id={id_}" for id_ in range(1, 5)),
        ]
        shown = {each: hiding.get(each) for each in addresses}

    assert sum(page.status_code == 200 for page in shown.values()) > len(paths)
    assert not [each for each, page in shown.items() if "hunter2" in page.text]


@pytest.mark.parametrize("given", ["payload.v:hunter2", "error:hunter2", "-payload.v:x"])
@pytest.mark.parametrize("page", ["messages", "withdraw", "redrive"])
def test_hidden_payloads_are_not_searched(hidden: Engine, page: str, given: str) -> None:
    hiding = Dashboard(hidden, options={"hides_payloads": True})

    answer = hiding.get(page, filter=given)

    assert answer.status_code == 400
    assert "hidden here" in answer.text


@pytest.mark.parametrize(
    "person",
    [None, Person(name="eve", may_see_payloads=True)],
    ids=["read-only", "who may only look"],
)
def test_who_may_not_act_is_offered_nothing_and_refused(
    database_url: str, person: Person | None
) -> None:
    with dashboard_of(database_url) as owner:
        fill(owner.queue("orders"))
        forms = [form_of(owner, page) for page in ASKING]
        looking = Dashboard(
            owner.engine,
            access=SignedIn(person or OPERATOR),
            options={"read_only": person is None},
        )
        shown = [looking.get(page) for page in PAGES if page != "audit"]
        token = looking.token_of("audit")
        asked = [looking.get(page) for page in ASKING]
        posted = [send(looking, form, csrf_token=token, payload="1", reason="x") for form in forms]

        assert [page.status_code for page in shown] == [200] * len(shown)
        assert not [page for page in shown if 'class="button" href="./redrive' in page.text]
        assert {page.status_code for page in asked} == {403}
        assert {page.status_code for page in posted} == {403}
        counts = owner.queue("orders").counts()
        assert (counts.available, counts.claimed) == (1, 1)
        assert owner.queue("orders").paused() is None


def test_an_audit_is_run_when_it_is_asked_for_and_leads_to_what_is_broken(
    dashboard: Dashboard, orders: Queue[Any]
) -> None:
    (message,) = orders.push_many([1])
    with dashboard.engine.begin() as connection:
        connection.execute(text("UPDATE xclaim_message SET attempts = 30"))

    before = dashboard.get("audit")
    after = send(dashboard, form_of(dashboard, "audit"))

    assert "Not sound" not in before.text
    assert after.status_code == 200
    assert "Not sound: see what is broken below." in after.text
    assert f'href="./message?id={message.id}"' in after.text


def test_the_doctor_shows_what_is_worst_first(dashboard: Dashboard, orders: Queue[Any]) -> None:
    fill(orders)
    with dashboard.engine.begin() as connection:
        connection.execute(
            text("UPDATE xclaim_message SET claim_expires_at = '2020-01-01 00:00:00' WHERE id = 2")
        )

    shown = dashboard.get("doctor").text

    assert "xclaim redrive orders" in shown
    assert 'href="./redrive?queue=orders"' in shown
    assert 'href="./expire?queue=orders"' in shown
    assert shown.index("state warning") < shown.index("state ok")


def test_completions_are_whole_filters(dashboard: Dashboard, orders: Queue[Any]) -> None:
    orders.push(1)

    answer = dashboard.get("completions", text="status:dead que")

    assert answer.json()[0]["text"].startswith("status:dead queue:")


@pytest.fixture(scope="module")
def office(postgresql_server: str) -> Iterator[People]:
    with people(postgresql_server, None, ["orders"]) as all_of_them:
        fill(all_of_them.owned(), "hunter2")
        yield all_of_them


@pytest.mark.parametrize("page", PAGES)
def test_an_observer_sees_everything_but_payloads(office: People, page: str) -> None:
    looking = Dashboard(office.engines["observer"])

    answer = looking.get(page)

    assert answer.status_code == 200, answer.text
    if not page.startswith("claims"):
        shown = answer.text.replace(">hunter2</bdi>", "")  # the key and the claimant are no secret
        assert "hunter2" not in shown


def test_an_observer_may_not_act_and_is_told_why(office: People) -> None:
    looking = Dashboard(office.engines["observer"])

    asked = [looking.get(page) for page in ASKING]

    assert {page.status_code for page in asked} == {403}
    assert not [page for page in asked if "is refused: " not in page.text]


def test_a_maintainer_redrives_and_withdraws_and_does_not_release(office: People) -> None:
    looking = Dashboard(office.engines["maintainer"])
    queue = office.owned()
    queue.push("for the maintainer", unique_key="mine")

    withdrawn = send(looking, form_of(looking, "withdraw", filter="key:mine"))
    refused = looking.get("release", filter="status:claimed")

    assert withdrawn.status_code == 303
    assert queue.find(["mine"]) == []
    assert refused.status_code == 403


def test_a_maintainer_is_told_what_changed_in_the_last_moment(office: People) -> None:
    # Who may not read payloads.
    queue = office.owned()
    ids = [queue.push("hunter2").id for _ in range(2)]
    held = queue.claim_message(ids[0], claimed_by="worker")
    hand = Hand(by="eve", engine=office.engines["maintainer"])

    deed = withdraw(hand, {"orders": ids})

    assert held is not None
    assert deed.said() == [
        "1 message withdrawn.",
        f"Not done: 1 message ({ids[0]}): claimed meanwhile by worker.",
    ]
    queue.ack(held)


def test_the_database_refuses_what_the_page_would_have_refused(office: People) -> None:
    id_ = office.owned().push("hunter2", delay=timedelta(hours=1)).id
    hand = Hand(by="eve", engine=office.engines["observer"])

    deed = withdraw(hand, {"orders": [id_]})

    assert deed.failed is not None
    assert "the database does not allow it to its role here" in deed.failed
    assert "hunter2" not in " ".join(deed.said())
    assert office.owned().get(id_) is not None


def test_a_role_of_one_queue_is_offered_what_it_may_do_there(office: People) -> None:
    looking = Dashboard(office.engines["maintainer"])

    shown = [looking.get(page).text for page in ("dead-letters", "messages?filter=queue:orders")]

    assert not [page for page in shown if 'class="button" href="./redrive?' not in page]


@pytest.mark.parametrize("page", ["dead-letters", "queue?name=orders"])
def test_that_more_letters_died_of_it_than_were_counted_is_shown(
    dashboard: Dashboard, orders: Queue[Any], monkeypatch: pytest.MonkeyPatch, page: str
) -> None:
    monkeypatch.setattr(holding, "MOST_LETTERS", 1)
    fill(orders)

    shown = dashboard.get(page).text

    assert re.search(r'<td class="number">(<a [^>]*>)?\s*1\+', shown)


def test_that_there_was_no_time_for_all_queues_is_shown(
    dashboard: Dashboard, orders: Queue[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(orders)
    complete = dashboard.get("dead-letters").text
    monkeypatch.setattr(holding, "_AT_ONCE", 1)
    times = itertools.count(0, 60)
    monkeypatch.setattr(holding, "time", SimpleNamespace(monotonic=lambda: next(times)))
    fill(dashboard.queue("others"))

    cut = dashboard.get("dead-letters").text

    assert "no time to read all queues" not in complete
    assert "no time to read all queues" in cut


def test_the_work_of_a_run_goes_on_where_the_page_has_stopped_looking(
    dashboard: Dashboard, orders: Queue[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("xclaim.observing.working.MOST_LOOKED_AT", 2)
    first, *_ = orders.push_many(range(3), headers={"dag_id": "etl", "run_id": "r"})

    newest = dashboard.get("task", dag="etl", run="r").text
    link = newest.rpartition('rel="next"')[0].rpartition('href="')[2].partition('"')[0]
    rest = dashboard.browser.get("/" + link.replace("&amp;", "&").removeprefix("./")).text

    assert "Search further back" in newest
    assert f"message?id={first.id}" not in newest
    assert f"message?id={first.id}" in rest


def test_a_run_of_which_nothing_was_found_yet_is_not_said_to_have_done_nothing(
    dashboard: Dashboard, orders: Queue[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("xclaim.observing.working.MOST_LOOKED_AT", 2)
    orders.push_many(range(3))

    newest = dashboard.get("task", dag="etl", run="r").text
    monkeypatch.undo()
    whole = dashboard.get("task", dag="etl", run="r").text

    assert "Among the 2 messages looked at" in newest
    assert "nothing here" not in newest
    assert "It has pushed, claimed and consumed nothing here" in whole


def test_a_list_of_the_work_of_a_run_says_that_there_is_more(
    dashboard: Dashboard, orders: Queue[Any]
) -> None:
    orders.push_many(range(51), headers={"dag_id": "etl", "run_id": "r"})

    shown = dashboard.get("task", dag="etl", run="r").text

    assert "Pushed: there may be more." in shown
    assert "Search further back" in shown


@pytest.mark.parametrize(
    ("given", "order"),
    [
        ("", "Messages, the newest first"),
        ("queue:orders", "Messages, the newest first"),
        ("id:1..3", "Messages, the newest first"),
        ("status:available", "Messages by queue and priority, the latest to become available"),
        ("status:dead", "Messages by queue and priority, the latest to become available"),
        ("status:claimed", "Messages by queue, the lease that ends last first"),
    ],
)
def test_a_list_says_in_which_order_it_is(
    dashboard: Dashboard, orders: Queue[Any], given: str, order: str
) -> None:
    fill(orders)

    shown = dashboard.get("messages", filter=given).text

    assert f"<caption>{order}" in shown


def test_errors_with_an_id_in_their_text_are_one_row_and_redriven_together(
    dashboard: Dashboard, orders: Queue[Any]
) -> None:
    orders.push_many(range(30))
    for claim in orders.claim_many(30):
        orders.release(claim, error=ValueError(f"no customer {claim.message.id}"), retry=ONCE)

    page = dashboard.get("dead-letters", queue="orders").text
    texts = page.partition("<details>")[2].partition("</details>")[0]
    row = page.partition("</details>")[2]

    assert page.count("<tr>") == 2
    assert "<summary>30 texts</summary>" in texts
    assert texts.count("<li>") == 20
    assert "10 more texts are not shown." in texts
    assert "no customer 30" in texts
    link = unescape(row.partition('href="./redrive?')[2].partition('"')[0])
    assert "Redrive 30 dead letters?" in dashboard.browser.get(f"/redrive?{link}").text


def test_what_has_no_text_is_not_chosen_with_those_that_have_one(
    dashboard: Dashboard, orders: Queue[Any]
) -> None:
    orders.push_many(range(3))
    for claim, said in zip(orders.claim_many(3), ("bad", "bad id", "gone"), strict=True):
        orders.release(claim, error=ValueError(said), retry=ONCE)
    with dashboard.engine.begin() as connection:
        connection.execute(
            text("UPDATE xclaim_message SET last_error = NULL WHERE last_error LIKE '%gone'")
        )

    page = dashboard.get("dead-letters", queue="orders").text
    texts = page.partition("<details>")[2].partition("</details>")[0]
    found = [("no text" in each, "./redrive?" in each) for each in texts.split("<li>")[1:]]

    assert sorted(found) == [(False, True), (False, True), (True, False)]
    assert "errors of this class that have it in theirs" in texts


def test_texts_of_errors_are_not_in_rows_where_they_are_hidden(database_url: str) -> None:
    with dashboard_of(database_url, hides_payloads=True) as looking:
        fill(looking.queue("orders"))
        fill(looking.queue("orders"), "another")

        page = looking.get("dead-letters", queue="orders").text
        of_queue = looking.get("queue", name="orders").text.partition("<h2>Dead letters")[2]

    assert page.count("<tr>") == 2
    assert "<details>" not in page
    assert "secret" not in page
    assert "ValueError" in of_queue
    assert "ValueError: " not in of_queue


def test_dead_letters_are_chosen_by_their_class_where_texts_are_hidden(database_url: str) -> None:
    with dashboard_of(database_url, hides_payloads=True) as looking:
        orders = looking.queue("orders")
        orders.push_many(range(5))
        claims = orders.claim_many(5)
        for claim, error in zip(claims, (KeyError("a"), *[ValueError("b")] * 3, "c"), strict=True):
            orders.release(claim, error=error, retry=ONCE)

        page = looking.get("dead-letters").text
        found = [unescape(each) for each in re.findall(r'href="\./(messages\?filter=[^"]*)"', page)]
        shown = [looking.browser.get(f"/{each}").text for each in found]
        action = unescape(page.partition('href="./redrive?')[2].partition('"')[0])
        asked = looking.browser.get(f"/redrive?{action}").text

    rows = [page.count('<th scope="row"><a href="./message?') for page in shown]
    assert sorted(rows) == [1, 1, 3]
    assert "class%3AValueError" in found[0]
    assert "Redrive 3 dead letters?" in asked


def test_a_list_says_how_long_ago_and_has_the_time_beside_it(
    dashboard: Dashboard, orders: Queue[Any]
) -> None:
    orders.push(1)

    shown = dashboard.get("messages").text
    cell = shown.partition("<tbody>")[2].partition("<time ")[2].partition("</time>")[0]

    assert cell.partition(" UTC")[0].startswith('datetime="20')
    assert 'UTC">' in cell
    assert cell.endswith(" ago")


def test_what_stands_in_line_says_so_and_behind_which_key(
    dashboard: Dashboard, orders: Queue[Any]
) -> None:
    ordering.enable(dashboard.engine)
    _, behind = orders.push_many([1, 2], ordering_keys=["<i>ann", "<i>ann"])

    listed = dashboard.get("messages?filter=queue:orders").text
    page = dashboard.get(f"message?id={behind.id}").text

    assert listed.count(">in line<") == 1
    assert ">in line<" in page
    assert "Available since" not in page
    assert '<dt>Ordering key</dt><dd class="code"><bdi>&lt;i&gt;ann</bdi></dd>' in page
