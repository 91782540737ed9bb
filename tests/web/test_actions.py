"""Every action of the dashboard asks, does exactly what it has shown, and says what it did."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from html import unescape
from typing import Any

import pytest
from sqlalchemy import Engine

from tests.hostile.rows import CLAIMED, DEAD, row
from tests.web.asking import Form, do, form_of, said_after, send
from tests.web.dashboards import Dashboard, dashboard_of
from xclaim import Claim, Queue, Retry, create_engine
from xclaim.arguments import HIGHEST_ID, LOWEST_ID
from xclaim.observing import Observer
from xclaim.operations.ordering import enable
from xclaim.web import Person, actions
from xclaim.web.actions import Deed, Hand, redrive, withdraw
from xclaim.web.live import Live

ONCE = Retry(max_attempts=1)
ENDED = timedelta(0)


@pytest.fixture
def orders(dashboard: Dashboard) -> Queue[Any]:
    return dashboard.queue("orders")


def claimed(queue: Queue[Any], **options: Any) -> Claim:
    claim = queue.claim(**options)
    assert claim is not None
    return claim


def died(queue: Queue[Any], payload: Any = 1, error: Exception | None = None) -> int:
    queue.push(payload)
    claim = claimed(queue)
    queue.release(claim, error=error or ValueError("out of tea"), retry=ONCE)
    return claim.message.id


def test_dead_letters_are_redriven_by_filter(dashboard: Dashboard, orders: Queue[Any]) -> None:
    ids = {died(orders, payload) for payload in range(3)}

    said = do(dashboard, "redrive", filter="status:dead error:ValueError")

    assert said == "3 messages redriven."
    assert {message.id for message in orders.peek(10)} == ids


def test_the_dead_letters_of_a_queue_are_redriven_from_its_page(
    dashboard: Dashboard, orders: Queue[Any]
) -> None:
    died(orders)
    died(dashboard.queue("letters"))

    said = do(dashboard, "redrive", queue="orders")

    assert said == "1 message redriven."
    assert orders.counts().available == 1
    assert dashboard.queue("letters.dead").counts().available == 1


def test_what_came_after_the_preview_is_left_alone(
    dashboard: Dashboard, orders: Queue[Any]
) -> None:
    died(orders)
    form = form_of(dashboard, "redrive", filter="status:dead")
    died(orders)

    said = said_after(dashboard, send(dashboard, form))

    assert said == "1 message redriven."
    assert dashboard.queue("orders.dead").counts().available == 1


def test_the_preview_shows_what_it_counts_behind_what_it_is_not_for(
    dashboard: Dashboard, orders: Queue[Any]
) -> None:
    orders.push_many(["held"] * 2)
    held = [claim.message.id for claim in orders.claim_many(2)]
    orders.push_many(range(60))

    page = dashboard.get("release", filter="queue:orders").text

    assert "Release 2 claims?" in page
    assert all(f'href="./message?id={id_}"' in page for id_ in held)


def test_the_preview_shows_what_only_a_hand_has_numbered(dashboard: Dashboard) -> None:
    ids = (LOWEST_ID, -5, 0, 7)
    with dashboard.engine.begin() as connection:
        for id_ in ids:
            row().write(connection, id=str(id_))

    page = dashboard.get("withdraw", filter="queue:hostile").text

    assert "Withdraw 4 messages?" in page
    assert all(f'href="./message?id={id_}"' in page for id_ in ids)


@pytest.mark.parametrize(
    ("action", "state", "done"),
    [
        ("withdraw", {}, "withdrawn"),
        ("redrive", DEAD, "redriven"),
        ("release", CLAIMED, "released"),
    ],
)
def test_what_only_a_hand_has_numbered_is_acted_on_with_the_others(
    dashboard: Dashboard, action: str, state: dict[str, str], done: str
) -> None:
    ids = (LOWEST_ID, -5, 0, 7)
    with dashboard.engine.begin() as connection:
        for id_ in ids:
            row(state).write(connection, id=str(id_))

    pages = [dashboard.get("message", id=str(id_)).status_code for id_ in ids]
    said = do(dashboard, action, filter="queue:hostile")

    assert pages == [200] * len(ids)
    assert said == f"4 messages {done}."


def test_what_is_no_id_is_no_message(dashboard: Dashboard) -> None:
    for given in (
        "",
        "-",
        "--1",
        "1.0",
        "\u0661",
        str(HIGHEST_ID + 1),
        str(LOWEST_ID - 1),
        "9" * 99,
    ):
        assert dashboard.get("message", id=given).status_code == 404


def test_a_queue_of_no_name_keeps_nothing_from_the_others(
    dashboard: Dashboard, orders: Queue[Any]
) -> None:
    with dashboard.engine.begin() as connection:
        for name in ("", "a\nb", "x" * 300):
            row(queue=f"'{name}'", origin_queue=f"'{name}'").write(connection)
    orders.push_many(range(3))

    said = do(dashboard, "withdraw", filter="-status:dead")

    assert said.startswith("3 messages withdrawn. Not done: 1 message")
    assert said.count("queue name") == 3
    assert "Not reached" not in said
    assert orders.counts().available == 0


def test_messages_that_come_meanwhile_push_none_of_the_preview_out(
    dashboard: Dashboard, orders: Queue[Any]
) -> None:
    orders.push_many(range(15))
    form = form_of(dashboard, "withdraw", filter="queue:orders status:available", limit=10)
    orders.push_many(range(15, 30))

    said = said_after(dashboard, send(dashboard, form))

    assert said == "10 messages withdrawn."
    left = [message.payload for message in orders.peek(100)]
    assert sorted(left) == [*range(5), *range(15, 30)]


def test_what_there_was_no_time_to_look_at_again_is_not_said_to_have_changed(
    dashboard: Dashboard, orders: Queue[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    orders.push_many([{"sku": "tea"}] * 30)
    form = form_of(dashboard, "withdraw", filter="payload.sku:tea")
    monkeypatch.setattr("xclaim.observing.searching._half", lambda _timeout: 0.0)

    said = said_after(dashboard, send(dashboard, form))

    assert said == "25 messages withdrawn. Not reached: 5 messages. Ask for it again to go on."


def test_what_an_action_is_for_is_found_behind_all_else(
    dashboard: Dashboard, orders: Queue[Any]
) -> None:
    died(orders)
    orders.push_many(range(100))

    page = dashboard.get("redrive", filter="queue:orders", limit=50).text
    said = do(dashboard, "redrive", filter="queue:orders", limit=50)

    assert "The first of them" in page
    assert "The filter also finds at least 50 that this cannot be done to" in page
    assert said == "1 message redriven."


def test_where_a_search_ended_early_it_is_not_said_that_there_is_nothing_to_do(
    dashboard: Dashboard, orders: Queue[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    orders.push({"sku": "tea"})
    orders.push_many([{"sku": "cake"}] * 100)
    monkeypatch.setattr("xclaim.observing.searching._half", lambda _timeout: 0.0)

    shown = dashboard.get("withdraw", filter="payload.sku:tea").text

    assert "done already" not in shown
    assert "narrow the filter" in shown


def test_what_was_taken_after_the_preview_is_told(dashboard: Dashboard, orders: Queue[Any]) -> None:
    died(orders)
    died(orders)
    form = form_of(dashboard, "redrive", filter="status:dead")
    claimed(dashboard.queue("orders.dead"))

    said = said_after(dashboard, send(dashboard, form))

    assert said == ("1 message redriven. Not done: 1 message of the preview changed meanwhile.")


def test_a_form_that_is_sent_twice_does_it_once(dashboard: Dashboard, orders: Queue[Any]) -> None:
    died(orders)
    form = form_of(dashboard, "redrive", filter="status:dead")
    send(dashboard, form)

    said = said_after(dashboard, send(dashboard, form))

    assert said == "0 messages redriven. Not done: 1 message of the preview changed meanwhile."
    assert orders.counts().available == 1


def test_a_message_is_withdrawn(dashboard: Dashboard, orders: Queue[Any]) -> None:
    id_ = orders.push(1).id

    said = do(dashboard, "withdraw", filter=f"id:{id_}", back="message", back_to=id_)

    assert said == "1 message withdrawn."
    assert orders.get(id_) is None


def test_what_is_claimed_is_not_withdrawn(dashboard: Dashboard, orders: Queue[Any]) -> None:
    id_ = orders.push(1).id
    form = form_of(dashboard, "withdraw", filter=f"id:{id_}")
    claimed(orders, claimed_by="worker")

    said = said_after(dashboard, send(dashboard, form))

    assert said == "0 messages withdrawn. Not done: 1 message of the preview changed meanwhile."
    assert orders.get(id_) is not None


def test_a_claim_is_released_with_the_reason(dashboard: Dashboard, orders: Queue[Any]) -> None:
    orders.push(1)
    claim = claimed(orders, claimed_by="worker")

    said = do(dashboard, "release", {"reason": "it hangs"}, filter=f"id:{claim.message.id}")

    assert said == "1 message released."
    message = orders.get(claim.message.id)
    assert message is not None
    assert message.last_error == "it hangs"
    assert message.claimed_by is None


def test_that_a_release_of_the_last_attempt_makes_a_dead_letter_is_said_before(
    dashboard: Dashboard, orders: Queue[Any]
) -> None:
    orders.push_many([1, 2], max_attempts=1)
    orders.claim_many(2)
    page = dashboard.get("release", queue="orders").text

    said = do(dashboard, "release", queue="orders")

    assert "or are dead letters if the attempt is counted and was their last" in page
    assert said == "2 messages released."
    assert dashboard.queue("orders.dead").counts().available == 2


def test_a_claim_that_was_made_after_the_preview_is_not_released(
    dashboard: Dashboard, orders: Queue[Any]
) -> None:
    orders.push(1)
    first = claimed(orders, claimed_by="first")
    form = form_of(dashboard, "release", filter=f"id:{first.message.id}")
    orders.release(first)
    claimed(orders, claimed_by="second")

    said = said_after(dashboard, send(dashboard, form))

    assert "0 messages released." in said
    assert f"({first.message.id}): claimed anew after you had looked." in said
    message = orders.get(first.message.id)
    assert message is not None
    assert message.claimed_by == "second"


def test_lapsed_claims_are_given_back(dashboard: Dashboard, orders: Queue[Any]) -> None:
    orders.push(1)
    claimed(orders, lease=ENDED)

    said = do(dashboard, "expire", queue="orders")

    assert said == "1 message given back."


@pytest.mark.parametrize("name", ["orders", "orders.dead"])  # the latter as the doctor leads there
def test_a_lapsed_claim_of_a_dead_letter_is_given_back_with_those_of_its_queue(
    dashboard: Dashboard, orders: Queue[Any], name: str
) -> None:
    died(orders)
    claimed(dashboard.queue("orders.dead"), lease=ENDED)

    page = dashboard.get("queue", name="orders")
    said = do(dashboard, "expire", queue=name)

    assert page.status_code == 200
    assert said == "1 message given back."
    assert dashboard.queue("orders.dead").counts().claimed == 0


def test_a_queue_is_paused_and_unpaused(dashboard: Dashboard, orders: Queue[Any]) -> None:
    orders.push(1)

    said = do(dashboard, "pause", {"reason": "the bank is down"}, queue="orders")

    pause = orders.paused()
    assert said == "orders is paused: it hands out nothing until it is unpaused."
    assert pause is not None
    assert pause.reason == "the bank is down"
    assert pause.paused_by.startswith("ada (dashboard of ")
    assert do(dashboard, "unpause", queue="orders") == "orders hands out messages again."
    assert orders.paused() is None


def test_a_pause_that_was_made_anew_is_not_ended_by_an_old_form(
    dashboard: Dashboard, orders: Queue[Any]
) -> None:
    orders.push(1)
    orders.pause(by="ada")
    form = form_of(dashboard, "unpause", queue="orders")
    orders.unpause()
    orders.pause(by="bob")

    said = said_after(dashboard, send(dashboard, form))

    assert said == "bob has paused orders anew meanwhile: nothing was done."
    assert orders.paused() is not None


def test_a_message_is_pushed(dashboard: Dashboard, orders: Queue[Any]) -> None:
    fields = {
        "payload": '{"id": 1.5}',
        "unique_key": "k",
        "priority": "3",
        "delay": "2",
        "delay_unit": "h",
        "max_attempts": "none",
    }

    said = do(dashboard, "push", fields, queue="orders")

    (message,) = orders.find(["k"])
    assert said == f"Pushed message {message.id}."
    assert message.payload == {"id": 1.5}
    assert (message.priority, message.max_attempts) == (3, None)
    assert message.available_at is not None
    assert message.available_at - message.created_at == timedelta(hours=2)


def test_a_message_is_pushed_into_its_line(dashboard: Dashboard, orders: Queue[Any]) -> None:
    fields = {"payload": "2", "ordering_key": "customer-7", "holds_line": "1"}
    enable(dashboard.engine)
    first = orders.push(1, ordering_key="customer-7")

    said = do(dashboard, "push", fields, queue="orders")

    second = orders.get(int(said.removeprefix("Pushed message ").removesuffix(".")))
    assert second is not None
    assert (second.payload, second.ordering_key) == (2, "customer-7")
    assert second.available_at is None
    assert [message.id for message in orders.peek(10)] == [first.id]


def test_that_there_are_no_ordering_keys_yet_is_said_at_the_field(
    fresh_postgresql_url: str,
) -> None:
    with dashboard_of(fresh_postgresql_url) as dashboard:
        form = form_of(dashboard, "push", queue="orders")

        answer = send(dashboard, form, payload="1", ordering_key="customer-7")

    assert answer.status_code == 422
    assert 'id="ordering_key-wrong"' in answer.text
    assert "ordering keys are not enabled" in answer.text


def test_a_line_that_is_held_has_a_key(dashboard: Dashboard) -> None:
    form = form_of(dashboard, "push", queue="orders")

    answer = send(dashboard, form, payload="1", holds_line="1")

    assert answer.status_code == 422
    assert 'id="ordering_key-wrong"' in answer.text
    assert 'value="1" checked' in answer.text


def test_a_form_that_is_sent_twice_pushes_once(dashboard: Dashboard, orders: Queue[Any]) -> None:
    form = form_of(dashboard, "push", queue="orders")
    send(dashboard, form, payload="1")

    said = said_after(dashboard, send(dashboard, form, payload="1"))

    (message,) = orders.peek(10)
    assert said == (f"Message {message.id} was there already under this key: nothing was pushed.")


def test_where_payloads_are_hidden_a_form_that_is_sent_twice_pushes_once(database_url: str) -> None:
    with dashboard_of(database_url, hides_payloads=True) as dashboard:
        form = form_of(dashboard, "push", queue="orders")
        send(dashboard, form, payload="1")

        said = said_after(dashboard, send(dashboard, form, payload="1"))
        another = send(dashboard, form, payload="2")

        (message,) = dashboard.queue("orders").peek(10)
    assert said == f"Message {message.id} was there already under this key: nothing was pushed."
    assert another.status_code == 422
    assert "the queue has a message under this key already" in another.text


def test_where_payloads_are_hidden_the_key_of_a_form_of_somebody_else_tells_nothing(
    database_url: str,
) -> None:
    with dashboard_of(database_url, hides_payloads=True) as dashboard:
        form = form_of(dashboard, "push", queue="orders")
        key = f"dashboard-{form.fields['form_key']}"
        dashboard.queue("orders").push(1, unique_key=key, headers={"pushed_by": "eve"})

        answers = [send(dashboard, form, payload=guess) for guess in ("1", "2")]

    assert [answer.status_code for answer in answers] == [422, 422]
    for answer in answers:
        assert "the queue has a message under this key already" in answer.text


@pytest.mark.parametrize(
    ("field", "given", "problem"),
    [
        ("queue", "orders.dead", "dead-letter queue"),
        ("queue", "", "queue name is empty"),
        ("payload", "", "there is no payload"),
        ("payload", '{"secret": 17,}', "this is not JSON"),
        ("payload", "NaN", "this is not JSON"),
        ("payload", "1e999", "this is not JSON"),
        ("payload", "[" * 5_000, "this is not JSON"),
        ("payload", "[" * 200 + "]" * 200, "nested"),
        ("unique_key", "x" * 1_001, "1,001 bytes"),
        ("priority", "40000", "priority must lie between"),
        ("priority", "high", "the priority must be a whole number"),
        ("delay", "-1", "delay must lie between"),
        ("delay", "9" * 12, "ten years"),
        ("max_attempts", "0", "max_attempts must lie between"),
        ("ordering_key", "x" * 256, "256 bytes"),
    ],
)
def test_what_is_wrong_is_said_at_its_field_and_the_input_is_kept(
    dashboard: Dashboard, orders: Queue[Any], field: str, given: str, problem: str
) -> None:
    form = form_of(dashboard, "push", queue="orders")
    kept = {"payload": '{"kept": "<yes>"}', "delay_unit": "d"}

    answer = send(dashboard, form, **{**kept, field: given})

    assert answer.status_code == 422
    assert f'id="{field}-wrong"' in answer.text
    assert problem in answer.text
    if field != "payload":
        assert "{&#34;kept&#34;: &#34;&lt;yes&gt;&#34;}" in answer.text
    assert orders.counts().available == 0


def test_another_payload_under_a_key_is_said_at_the_key(
    dashboard: Dashboard, orders: Queue[Any]
) -> None:
    orders.push(1, unique_key="k")
    form = form_of(dashboard, "push", queue="orders")

    answer = send(dashboard, form, payload="2", unique_key="k")

    assert answer.status_code == 422
    assert "the queue has another payload under this key" in answer.text


@pytest.mark.parametrize("guess", ["1", "2"])
def test_a_push_does_not_tell_a_payload_that_is_hidden(database_url: str, guess: str) -> None:
    with dashboard_of(database_url, hides_payloads=True) as dashboard:
        dashboard.queue("orders").push(1, unique_key="k")
        form = form_of(dashboard, "push", queue="orders")

        answer = send(dashboard, form, payload=guess, unique_key="k")

    assert answer.status_code == 422
    assert "the queue has a message under this key already" in answer.text


def test_the_log_says_who_did_it_and_no_payload(
    dashboard: Dashboard, orders: Queue[Any], caplog: pytest.LogCaptureFixture
) -> None:
    orders.push("hunter2")
    held = claimed(orders)
    letter = died(orders, "hunter2", ValueError("hunter2"))
    orders.push("hunter2", delay=timedelta(hours=1))
    caplog.clear()

    with caplog.at_level(logging.WARNING, logger="xclaim"):
        do(dashboard, "redrive", filter="status:dead")
        do(dashboard, "release", filter="status:claimed")
        do(dashboard, "withdraw", filter="status:delayed")
        do(dashboard, "push", {"payload": '"hunter2"'}, queue="letters")

    said = [record.getMessage() for record in caplog.records if record.name == "xclaim"]
    mine = [line for line in said if line.startswith("operator ada (dashboard of shop) ")]
    assert [line.split()[5] for line in mine] == ["redrove", "released", "withdrew", "pushed"]
    assert f"message {letter}" in mine[0]
    assert f"message {held.message.id} in 'orders', attempt 1" in mine[1]
    assert not [line for line in said if "hunter2" in line or str(held.token) in line]


def test_a_name_that_would_turn_the_log_around_is_escaped(
    dashboard: Dashboard, orders: Queue[Any], caplog: pytest.LogCaptureFixture
) -> None:
    dashboard.access.person = Person(
        name="ada\noperator bob \u202e" + "x" * 10_000, may_act=True, may_see_payloads=True
    )
    orders.push(1)

    with caplog.at_level(logging.WARNING, logger="xclaim"):
        do(dashboard, "withdraw", filter="queue:orders")

    (line,) = [each.getMessage() for each in caplog.records if "withdrew" in each.getMessage()]
    assert line.isprintable()
    assert len(line) < 400


def test_an_action_ends_in_time_and_says_how_far_it_came(
    dashboard: Dashboard, orders: Queue[Any]
) -> None:
    messages = orders.push_many(range(450))
    hand = Hand(by="ada", engine=dashboard.engine)

    deed = withdraw(hand, {"orders": [each.id for each in messages]}, patience=timedelta(0))

    assert deed.said() == [
        "200 messages withdrawn.",
        "Not reached: 250 messages. Ask for it again to go on.",
    ]
    assert orders.counts().available == 250


def test_each_message_that_changed_in_the_last_moment_is_told(
    dashboard: Dashboard, orders: Queue[Any]
) -> None:
    dead = [died(orders, payload) for payload in range(3)]
    free = orders.push(7).id
    hand = Hand(by="ada", engine=dashboard.engine)

    deed = redrive(hand, {"orders.dead": [*dead, free]})

    assert deed.said() == [
        "3 messages redriven.",
        f"Not done: 1 message ({free}): no dead letter of its queue any more.",
    ]


def test_a_claimed_message_is_told_by_its_holder(dashboard: Dashboard, orders: Queue[Any]) -> None:
    ids = [orders.push(payload).id for payload in range(3)]
    held = claimed(orders, claimed_by="worker \u202e7")
    gone = 10**9
    hand = Hand(by="ada", engine=dashboard.engine)

    deed = withdraw(hand, {"orders": [*ids, gone]})

    assert deed.said() == [
        "2 messages withdrawn.",
        f"Not done: 1 message ({held.message.id}): claimed meanwhile by worker \\u202e7.",
        "Not done: 1 message: gone meanwhile.",
    ]


@pytest.mark.parametrize("page", ["redrive", "release", "withdraw"])
def test_without_a_filter_nothing_is_chosen(dashboard: Dashboard, page: str) -> None:
    answer = dashboard.get(page, filter=" ")

    assert answer.status_code == 400
    assert "choose messages first" in answer.text


@pytest.mark.parametrize("limit", ["0", "-1", "10001", "9" * 5_000, "ten", "\u0661"])
def test_a_limit_that_is_none_is_refused(dashboard: Dashboard, limit: str) -> None:
    answer = dashboard.get("withdraw", filter="queue:orders", limit=limit)

    assert answer.status_code == 400
    assert "from 1 to 10,000" in answer.text


def test_what_was_found_beyond_the_limit_stays(dashboard: Dashboard, orders: Queue[Any]) -> None:
    orders.push_many(range(5))

    said = do(dashboard, "withdraw", filter="queue:orders", limit=3)

    assert said == "3 messages withdrawn."
    assert orders.counts().available == 2


def test_the_limit_is_a_field_of_the_page_that_asks(
    dashboard: Dashboard, orders: Queue[Any]
) -> None:
    orders.push_many(range(5))

    page = dashboard.get("withdraw", queue="orders", limit=3).text

    assert 'name="limit" type="number" min="1" max="10000" required value="3"' in page
    assert '<input type="hidden" name="queue" value="orders">' in page


def test_ten_thousand_are_withdrawn_at_once(dashboard: Dashboard, orders: Queue[Any]) -> None:
    orders.push_many(range(10_000))

    said = do(dashboard, "withdraw", filter="queue:orders", limit=10_000)

    assert said == "10,000 messages withdrawn."


@pytest.mark.parametrize("shown", ["-", "!", "1." * 20_000, "\u202e", "z" * 20])
def test_a_preview_that_nobody_made_is_refused(
    dashboard: Dashboard, orders: Queue[Any], shown: str
) -> None:
    orders.push(1)
    form = form_of(dashboard, "withdraw", filter="queue:orders")

    answer = send(dashboard, form, shown=shown)

    assert answer.status_code == 400
    assert orders.counts().available == 1


@pytest.mark.parametrize("asked_at", ["", "yesterday", "2026-01-01T00:00:00"])
def test_a_release_that_does_not_say_when_it_was_asked_is_refused(
    dashboard: Dashboard, orders: Queue[Any], asked_at: str
) -> None:
    orders.push(1)
    claimed(orders)
    form = form_of(dashboard, "release", filter="queue:orders")

    answer = send(dashboard, form, asked_at=asked_at)

    assert answer.status_code == 400
    assert orders.counts().claimed == 1


@pytest.mark.parametrize("back", ["https://evil.example", "//evil.example", "javascript:x", ""])
def test_an_action_leads_to_a_page_of_ours(
    dashboard: Dashboard, orders: Queue[Any], back: str
) -> None:
    orders.push(1)
    form = form_of(dashboard, "withdraw", filter="queue:orders")

    answer = send(dashboard, form, back=back, back_to="https://evil.example")

    assert answer.headers["location"].startswith("./messages?")


@pytest.mark.parametrize(
    "said",
    [
        'it said "no\\" :-* ',
        "x" * 5_000,
        "é\u202e" * 300,
        "status:dead",
        "\ttab",
        "10 %\rof 100 %",
        "first\r\nsecond",
    ],
)
def test_what_died_of_one_error_is_redriven_alone(
    dashboard: Dashboard, orders: Queue[Any], said: str
) -> None:
    died(orders, error=KeyError("another"))
    died(orders, error=ValueError(said))
    page = dashboard.get("dead-letters", queue="orders").text
    links = [unescape(part.partition('"')[0]) for part in page.split('href="./redrive?')[1:]]
    (link,) = [each for each in links if "ValueError" in each]

    form = Form(dashboard.browser.get(f"/redrive?{link}").text)

    assert said_after(dashboard, send(dashboard, form)) == "1 message redriven."


def test_the_forms_of_an_action_keep_the_ends_of_lines(
    dashboard: Dashboard, orders: Queue[Any]
) -> None:
    asked_for = 'status:dead error:"10 %\r of 100 %"'
    died(orders, error=ValueError("10 %\r of 100 %"))

    page = dashboard.get("redrive", filter=asked_for, limit=5).text
    (given,) = re.findall(r'<input type="hidden" name="filter[*]" value="([^"]*)">', page)[:1]
    again = dashboard.get("redrive", **{"filter*": unescape(given), "limit": "7"})

    assert "Redrive 1 dead letter?" in again.text
    assert do(dashboard, "redrive", filter=asked_for) == "1 message redriven."


def test_many_reasons_are_told_in_few_words(dashboard: Dashboard, orders: Queue[Any]) -> None:
    ids = [message.id for message in orders.push_many(range(30))]
    for number in range(30):
        claimed(orders, claimed_by=f"worker {number} " + "x" * 900)
    hand = Hand(by="ada", engine=dashboard.engine)

    deed = withdraw(hand, {"orders": ids})

    assert deed.said()[-1] == "Not done: 26 messages more, for such reasons."
    assert len(" ".join(deed.said())) < 1_500


@pytest.mark.parametrize("action", ["withdraw", "redrive", "release", "expire"])
def test_an_action_that_gets_no_connection_says_what_it_has_done(
    database_url: str, action: str
) -> None:
    engine = create_engine(database_url, pool_size=1, max_overflow=0, pool_timeout=0.01)
    hand = Hand(by="ada", engine=engine)
    acts: dict[str, Callable[[], Deed]] = {
        "withdraw": lambda: withdraw(hand, {"orders": [1, 2]}),
        "redrive": lambda: redrive(hand, {"orders.dead": [1, 2]}),
        "release": lambda: actions.release(
            hand, {"orders": [1, 2]}, claimed_until=datetime.now(UTC)
        ),
        "expire": lambda: actions.expire(hand, "orders"),
    }

    with engine.connect():
        deed = acts[action]()

    engine.dispose()
    done, early, *left = deed.said()
    assert done.startswith("0 messages ")
    assert early == "It ended early: all connections are in use, and none came free in time."
    assert left == (
        [] if action == "expire" else ["Not reached: 2 messages. Ask for it again to go on."]
    )


@contextmanager
def locked(engine: Engine) -> Iterator[None]:
    """Let others read, and nobody write, as a long transaction or CREATE INDEX does."""
    with engine.connect() as other:
        if engine.dialect.name == "sqlite":
            other.exec_driver_sql("SELECT 1")  # which begins as one that writes
        else:
            other.exec_driver_sql("LOCK TABLE xclaim_message, xclaim_queue IN SHARE MODE")
        yield
        other.rollback()


@pytest.mark.parametrize(
    ("page", "query", "fields"),
    [
        ("withdraw", {"filter": "queue:orders status:available"}, {}),
        ("redrive", {"filter": "status:dead"}, {}),
        ("release", {"filter": "status:claimed"}, {}),
        ("expire", {"queue": "orders"}, {}),
        ("pause", {"queue": "orders"}, {}),
        ("push", {"queue": "orders"}, {"payload": "1"}),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)
def test_what_is_locked_is_said_in_time_and_is_not_done_later(
    dashboard: Dashboard,
    orders: Queue[Any],
    monkeypatch: pytest.MonkeyPatch,
    page: str,
    query: dict[str, str],
    fields: dict[str, str],
) -> None:
    monkeypatch.setattr(actions, "PATIENCE", timedelta(0))
    died(orders)
    orders.push_many(range(3))
    claimed(orders)
    claimed(orders, lease=timedelta(0))
    before = orders.counts()
    form = form_of(dashboard, page, **query)

    with locked(dashboard.engine):
        answer = send(dashboard, form, **fields)  # it would wait until the lock is gone

    said = answer.text if answer.status_code == 503 else said_after(dashboard, answer)
    assert "locked" in said
    assert orders.counts() == before
    assert orders.paused() is None


def test_the_file_is_waited_for_as_usual_after_an_action(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(actions, "PATIENCE", timedelta(0))
    with dashboard_of(sqlite_url) as dashboard:
        do(dashboard, "push", {"payload": "1"}, queue="orders")

        with dashboard.engine.connect() as connection:
            waits = connection.exec_driver_sql("PRAGMA busy_timeout").scalar()

    assert waits == 30_000


def test_after_an_action_pages_do_not_show_what_was_remembered(
    dashboard: Dashboard, orders: Queue[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    orders.push(1)
    forgotten: list[Any] = []

    def forget(observer: Observer) -> None:
        forgotten.append(observer)

    monkeypatch.setattr(Observer, "forget", forget)
    monkeypatch.setattr(Live, "forget", lambda _, place: forgotten.append(place.name))

    do(dashboard, "pause", queue="orders")

    assert [type(each) for each in forgotten] == [Observer, str]
    assert forgotten[1] == "shop"
