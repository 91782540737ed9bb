"""The matrix says what ran and what did not, and ends as its tests did."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import matrix
from tests.matrix import Outcome


@pytest.mark.parametrize(
    ("output", "counts"),
    [
        ("....\n812 passed in 63.07s (0:01:03)\n", "812 passed"),
        ("=== 2 failed, 810 passed, 3 skipped in 9.1s ===\n", "2 failed, 810 passed, 3 skipped"),
        ("== no tests ran in 0.1s ==\n", "no test ran"),
        ("ImportError while loading conftest\n", "no test ran"),
    ],
)
def test_a_cell_is_counted_as_pytest_counts(output: str, counts: str) -> None:
    assert matrix.counts_of(output) == counts


@pytest.mark.parametrize(
    ("status", "counts", "is_good"),
    [
        (0, "812 passed", True),
        (1, "2 failed, 810 passed", False),
        (3, "812 passed", False),
        (0, "3 skipped", False),
        (5, "no test ran", False),
    ],
)
def test_a_cell_is_good_only_if_tests_ran_and_passed(
    status: int, counts: str, is_good: bool
) -> None:
    outcome = Outcome(name="PostgreSQL 16 x Python 3.12", status=status, counts=counts)

    assert outcome.is_good == is_good
    assert str(outcome).startswith(f"PostgreSQL 16 x Python 3.12: {counts}")
    assert ("FAILED" in str(outcome)) != is_good


def test_what_could_not_be_had_is_said() -> None:
    lines = list(
        matrix.left_out({"3.12": "/bin/python", "3.14": None}, {16: Path("/bin"), 17: None})
    )

    assert len(lines) == 2
    assert lines[0].startswith("Python 3.14: left out")
    assert lines[1].startswith("PostgreSQL 17: left out")


def test_the_embedded_versions_are_found_and_one_that_is_nowhere_is_not() -> None:
    found = {version: matrix.find_postgresql(version) for version in (16, 18, 99)}

    assert all(found[version] for version in (16, 18))
    assert found[99] is None


def test_nothing_that_runs_is_no_success(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(matrix, "find_python", lambda _version: None)
    monkeypatch.setattr("sys.argv", ["matrix", "--python", "3.12", "--postgresql", "16"])

    assert matrix.main() == 1
    assert "Python 3.12: left out" in capsys.readouterr().out
