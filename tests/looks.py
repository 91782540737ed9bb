"""Looks at the database in tests that are not about how long one may take."""

from datetime import timedelta

from sqlalchemy import Engine

from xclaim.observing import Observer

PATIENT = timedelta(minutes=2)  # a loaded machine is slow


def patient_observer(engine: Engine, schema: str | None = None) -> Observer:
    return Observer(engine, schema, PATIENT)
