from collections.abc import Iterator

import pytest

from tests.web.dashboards import Dashboard, dashboard_of


@pytest.fixture
def dashboard(database_url: str) -> Iterator[Dashboard]:
    """A dashboard on either database, and somebody signed in who may do everything."""
    with dashboard_of(database_url) as shown:
        yield shown
