"""Doctor and audit: what surrounds the queues and slows them down; whether every row is sound."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

from xclaim.observing.values import Action
from xclaim.operations import doctor
from xclaim.operations.audit import audit
from xclaim.operations.doctor import Level
from xclaim.web.pages.filtering import rights_to
from xclaim.web.parts import part_of
from xclaim.web.routes import action, page

if TYPE_CHECKING:
    from collections.abc import Iterable

    from starlette.responses import Response

    from xclaim.observing.values import Rights
    from xclaim.operations.audit import Audit, Check
    from xclaim.operations.doctor import Finding
    from xclaim.web.forms import Form
    from xclaim.web.places import Place
    from xclaim.web.visits import Visit

_WORST_FIRST = (Level.PROBLEM, Level.WARNING, Level.OK)
_MOST_AUDITED = 20_000  # of the newest: some tens of milliseconds
_AUDIT_TIMEOUT = timedelta(seconds=20)  # somebody waits for it; more where looks may take more
_MESSAGE = re.compile(r"message (-?[0-9]{1,19})\b", re.ASCII)


_WAYS_OUT = {
    "stuck_claims": (("expire", "Give lapsed claims back …"), ("claims", "Its claims")),
    "paused": (("unpause", "Unpause …"),),
    "dead_letters": (("dead-letters", "Its dead letters"), ("redrive", "Redrive them …")),
    "failing": (("queue", "Its page"),),
}
_ACTIONS = {"expire": Action.EXPIRE, "unpause": Action.PAUSE, "redrive": Action.REDRIVE}
_NAMED_BY = {"queue": "name"}  # the field of an address that has the queue, if it is not `queue`


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """What breaks a promise, and the message it is, if it is one."""

    text: str
    id: int | None


def show_doctor(visit: Visit) -> Response:
    """Show what the doctor finds, what is worst first."""
    place = visit.place
    findings = part_of(
        lambda: doctor.examine(place.engine, schema=place.schema, timeout=place.timeout)
    )
    return visit.render(
        "doctor.html",
        findings=findings,
        ordered=sorted(findings.value or (), key=lambda each: _WORST_FIRST.index(each.level)),
        ways_out=partial(_ways_out, visit, _rights(visit, findings.value or ())),
        newest=_MOST_AUDITED,
    )


def _rights(visit: Visit, findings: Iterable[Finding]) -> Rights | None:
    """Return the rights to the queues that something is wrong with: once, they may be hundreds."""
    queues = [each.queue for each in findings if each.queue is not None]
    return rights_to(visit, queues).value if queues else None


def _ways_out(visit: Visit, rights: Rights | None, finding: Finding) -> list[tuple[str, str]]:
    """Return the addresses of pages that help with a finding, and what they are called."""
    if finding.queue is None:
        return []
    return [
        (visit.url(page, **{_NAMED_BY.get(page, "queue"): finding.queue}), text)
        for page, text in _WAYS_OUT.get(finding.name, ())
        if _is_open(visit, page, rights)
    ]


def _is_open(visit: Visit, page: str, rights: Rights | None) -> bool:
    """Return whether the person may do what a page is for: looking needs no right."""
    if page not in _ACTIONS:
        return True
    return rights is not None and visit.refusal(_ACTIONS[page], rights) is None


def ask_audit(visit: Visit) -> Response:
    """Say what an audit is, and ask: it reads much, and so is never run by itself."""
    return visit.render("audit.html", audit=None, examples={}, newest=_MOST_AUDITED)


def run_audit(visit: Visit, _form: Form) -> Response:
    """Check the promises of the newest messages, and show what breaks them."""
    place = visit.place
    found = part_of(lambda: _audited(place))
    examples = {} if found.value is None else _examples(found.value)
    return visit.render("audit.html", audit=found, examples=examples, newest=_MOST_AUDITED)


def _audited(place: Place) -> Audit:
    timeout = max(place.timeout, _AUDIT_TIMEOUT)
    return audit(place.engine, newest=_MOST_AUDITED, schema=place.schema, timeout=timeout)


def _examples(found: Audit) -> dict[str, list[Example]]:
    return {check.name: _of_check(check) for check in found.checks if check.broken}


def _of_check(check: Check) -> list[Example]:
    examples = []
    for text in check.examples:
        match = _MESSAGE.match(text)
        examples.append(Example(text=text, id=None if match is None else int(match[1])))
    return examples


ROUTES = (
    page("/doctor", show_doctor),
    page("/audit", ask_audit),
    action("/audit", run_audit),
)
