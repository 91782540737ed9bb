"""The dashboard: one web application, alone, in an application of one's own, or in Airflow.

It asks the read model (``xclaim.observing``) and calls the verbs of queues, and has no SQL.
"""

from __future__ import annotations

from xclaim.web.access import Access, AccessDeniedError, Person
from xclaim.web.application import create_app
from xclaim.web.places import OnePlace, Place, Places

__all__ = [
    "Access",
    "AccessDeniedError",
    "OnePlace",
    "Person",
    "Place",
    "Places",
    "create_app",
]
