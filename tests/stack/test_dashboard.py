"""The dashboard in a running Airflow: pages, the tab of a task, the link that leads there."""

from __future__ import annotations

import re
from html import unescape
from urllib.parse import quote

import pytest

from tests.stack.conftest import Run, Stack

pytestmark = [pytest.mark.airflow, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def run(stack: Stack) -> Run:
    """A run whose mapped task has consumed a message."""
    with stack.queue("crowd") as queue:
        queue.push("for the dashboard")
    run = stack.start("crowd", size=1)
    assert run.end() == "success"
    return run


def test_the_tab_of_a_task_shows_what_it_consumed(stack: Stack, run: Run) -> None:
    names = f"dag=crowd&run={quote(run.run_id, safe='')}"

    of_task = stack.client.get(f"/xclaim/task?{names}&task=work&map=0")
    of_run = stack.client.get(f"/xclaim/task?{names}")
    of_another = stack.client.get(f"/xclaim/task?{names}&task=numbers&map={{MAP_INDEX}}")

    assert "Consumed" in of_task.text
    assert "Consumed" in of_run.text
    assert "consumed nothing here" in of_another.text


def test_the_link_of_a_task_leads_to_its_tab(stack: Stack, run: Run) -> None:
    path = f"/dags/crowd/dagRuns/{run.run_id}/taskInstances/work/links?map_index=0"

    link = stack.ask("GET", path)["extra_links"]["Messages"]

    page = stack.client.get(link)
    assert link.endswith("/tasks/work/mapped/0/plugin/xclaim-task")
    assert page.status_code == 200
    assert "</html>" in page.text  # of Airflow's UI, which finds the tab by the name


def test_a_queue_is_paused_from_the_dashboard(stack: Stack) -> None:
    with stack.queue("dashboard") as queue:
        queue.push("one")
    page = stack.client.get("/xclaim/pause?queue=dashboard")
    token = re.search('name="csrf_token" value="([^"]*)"', page.text)
    assert token is not None
    fields = {"csrf_token": unescape(token[1]), "queue": "dashboard", "place": "xclaim_default"}

    answer = stack.client.post("/xclaim/pause", data=fields)

    assert answer.status_code == 303
    assert "dashboard" in stack.client.get("/xclaim/queues").text
    with stack.queue("dashboard") as queue:
        assert queue.claim_many(1) == []
