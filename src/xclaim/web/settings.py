"""What an application was made with; each part of it asks here."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from xclaim.web.access import Access
    from xclaim.web.airflow_pages import AirflowPages
    from xclaim.web.places import Places
    from xclaim.web.signing import Signer


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The arguments of ``create_app``, and what signs its forms."""

    places: Places
    access: Access
    signer: Signer
    is_read_only: bool = False
    hides_payloads: bool = False
    frame_ancestors: tuple[str, ...] = ()
    airflow: AirflowPages | None = None
    pages: frozenset[str] = field(default_factory=frozenset)  # their paths, for the navigation
