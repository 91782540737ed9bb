"""One request of a person to a place: what every page and action is given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from starlette.responses import RedirectResponse, Response

from xclaim.observing.observer import Observer
from xclaim.observing.values import Action
from xclaim.web.access import AccessDeniedError
from xclaim.web.addresses import address
from xclaim.web.forms import form_token
from xclaim.web.hiding import DiscreetObserver
from xclaim.web.rendering import render

if TYPE_CHECKING:
    from starlette.requests import Request

    from xclaim.observing.values import Rights, Task
    from xclaim.web.access import Person
    from xclaim.web.places import Place
    from xclaim.web.settings import Settings

_FLASH, _FLASH_LIFETIME = "flash", 60  # seconds: a page that is reloaded later does not repeat it
_NAVIGATION = (
    ("queues", "Queues"),
    ("messages", "Messages"),
    ("dead-letters", "Dead letters"),
    ("claims", "Claims"),
    ("doctor", "Doctor"),
)


@dataclass
class Visit:
    """One request of a person to a place. It lives in one thread.

    ``place_names`` are all places the person may open; addresses name the place if there are more
    than one.
    """

    request: Request
    settings: Settings
    person: Person
    place_names: Sequence[str]
    place: Place

    def __post_init__(self) -> None:
        """Let the person do here what the place allows."""
        self.person = replace(
            self.person,
            may_act=self.person.may_act and self.place.may_act,
            may_see_payloads=self.person.may_see_payloads and self.place.may_see_payloads,
        )

    @cached_property
    def observer(self) -> Observer:
        """The read model of the place, without what is hidden from the person."""
        kind = Observer if self.sees_payloads else DiscreetObserver
        return kind(self.place.engine, schema=self.place.schema, timeout=self.place.timeout)

    def rights(self, queue: str | None = None) -> Rights:
        """Return what the database role may do, of all queues or of one."""
        return self.observer.rights(queue)

    @property
    def sees_payloads(self) -> bool:
        """Whether payloads may be shown, as far as the dashboard and the person go (see the gate).

        The database has its own say: what the role may not read is None in what was read.
        """
        return self.person.may_see_payloads

    def refusal(self, action: Action, rights: Rights) -> str | None:
        """Return why the person may not do it, None if he may."""
        if self.settings.is_read_only:
            return "this dashboard is read-only"
        if not self.person.may_act:
            return f"{self.person.name} may only look"
        return rights.refusals.get(action)

    def require(self, action: Action, rights: Rights) -> None:
        """Raise AccessDeniedError if the person may not do it."""
        reason = self.refusal(action, rights)
        if reason is not None:
            raise AccessDeniedError(403, f"{action} is refused: {reason}")

    def query(self, name: str) -> str:
        """Return a field of the address, "" where it is not there."""
        return self.request.query_params.get(name, "")

    def url(self, page: str, **query: Any) -> str:
        """Return the address of a page for this place, as it is seen from this one."""
        if len(self.place_names) > 1:
            query = {"place": self.place.name, **query}
        return address(self.request.scope, page, **query)

    def address(self, page: str) -> str:
        """Return the address of a page without a place, for a form that chooses one."""
        return address(self.request.scope, page)

    def has(self, page: str) -> bool:
        """Return whether there is such a page."""
        return f"/{page}" in self.settings.pages

    def navigation(self) -> list[tuple[str, str]]:
        """Return the pages that the navigation leads to, and their names."""
        return [(path, name) for path, name in _NAVIGATION if self.has(path)]

    def task_link(self, task: Task | None) -> str | None:
        """Return the address of a task instance in Airflow, if there is one."""
        airflow = self.settings.airflow
        return None if task is None or airflow is None else airflow.of_task(task)

    def run_link(self, dag_id: str, run_id: str) -> str | None:
        """Return the address of a run in Airflow, if there is one."""
        airflow = self.settings.airflow
        return None if airflow is None else airflow.of_run(dag_id, run_id)

    def form_token(self) -> str:
        """Return what each form of a page carries; the macro ``csrf()`` writes it."""
        return form_token(self.settings.signer, self.person)

    def flash(self) -> str | None:
        """Return what the action before has left to say."""
        given = self.query("flash")
        said = self.settings.signer.read(_FLASH, self.person, given, lifetime=_FLASH_LIFETIME)
        return said if isinstance(said, str) else None

    def render(self, template: str, *, status: int = 200, **context: Any) -> Response:
        """Return a page made from a template, which has this visit as ``visit``."""
        return render(template, status=status, visit=self, **context)

    def redirect(self, page: str, *, flash: str | None = None, **query: Any) -> Response:
        """Return the way to a page after an action; it shows the flash once."""
        if flash is not None:
            query["flash"] = self.settings.signer.sign(_FLASH, self.person, flash[:1_500])
        return RedirectResponse(self.url(page, **query), status_code=303)
