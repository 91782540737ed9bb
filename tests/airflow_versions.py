"""What the tests know of the version of Airflow they run on."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

import pytest
from packaging.version import Version


def since(first: str, what: str) -> pytest.MarkDecorator:
    """Return the mark of a test of what older versions lack; what is skipped says so.

    :param first: the first version of Airflow that has it.
    :param what: it is.
    """
    try:
        found = version("apache-airflow-core")
    except PackageNotFoundError:  # no test of Airflow runs anyway
        found = first
    return pytest.mark.skipif(
        Version(found) < Version(first), reason=f"{what}: since Airflow {first}, this is {found}"
    )
