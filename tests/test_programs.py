"""Programs the tests start get the time they need, and none when they have ended."""

from __future__ import annotations

import sys

import pytest
from hypothesis import HealthCheck, settings

from tests import programs

SERVES_LATE = """
import http.server, sys, time
time.sleep(0.5)
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), None).serve_forever()
"""


def test_a_program_is_awaited_until_it_answers() -> None:
    port = programs.free_port()

    process = programs.start([sys.executable, "-c", SERVES_LATE, str(port)], port)

    assert process.poll() is None
    programs.stop(process)


def test_a_program_that_has_ended_is_not_waited_for_and_its_output_is_shown() -> None:
    fails = [sys.executable, "-c", "import sys; print('no such bucket'); sys.exit(3)"]

    with pytest.raises(RuntimeError, match=r"ended with 3: no such bucket"):
        programs.start(fails, programs.free_port())


def test_no_drawn_example_is_held_to_a_time() -> None:
    assert settings.default is not None
    assert settings.default.deadline is None
    assert HealthCheck.too_slow in settings.default.suppress_health_check
