"""The contract in a schema of a given database, in the normal run: what Citus, too, is asked."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# What claims, settles, joins transactions and resumes tickets; what makes triggers; what needs the
# table of queues; and two in which some tests need a database of their own.
CONTRACT = (
    "claim",
    "settle",
    "transactions",
    "resume",
    "ordering",
    "pause",
    "backlog",
    "redrive",
    "unsendable",
)


@pytest.mark.slow
def test_the_contract_holds_in_a_schema_of_a_given_database(empty_postgresql_url: str) -> None:
    given = {"XCLAIM_TEST_DATABASE_URL": empty_postgresql_url, "XCLAIM_TEST_SCHEMA": "queues"}
    files = [f"tests/contract/test_{name}.py" for name in CONTRACT]

    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:xdist", "-p", "no:cacheprovider", *files],
        cwd=ROOT,
        env={**os.environ, **given},
        capture_output=True,
        text=True,
        check=False,
    )

    assert run.returncode == 0, run.stdout + run.stderr
    assert "from XCLAIM_TEST_DATABASE_URL" in run.stdout
