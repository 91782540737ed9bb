"""The README: what a newcomer has after its blocks, and its queries on every database."""

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from tests.pages import ROOT, plain_environment, read_page, run
from xclaim import Queue, create_engine
from xclaim.operations import migrate

README = ROOT / "README.md"


def codes(language: str) -> list[str]:
    """Return the blocks in a language."""
    return [block.code for block in read_page(README).blocks if block.language == language]


@pytest.mark.slow
def test_the_blocks_run_from_install_to_the_first_ack(tmp_path: Path) -> None:
    run(read_page(README), tmp_path, plain_environment())

    with Queue("orders", f"sqlite:///{tmp_path}/xclaim.db") as queue:
        assert queue.counts().consumed == 2
        assert queue.counts().available == 0


def test_the_queries_run_on_every_database(database_url: str) -> None:
    sql = "".join(codes("sql"))
    statements = [query for query in sql.split(";") if query.strip()]
    engine = create_engine(database_url)
    migrate.upgrade(engine)

    with engine.connect() as connection:
        results = [connection.execute(text(query)).all() for query in statements]

    engine.dispose()
    assert len(results) == 6


def test_the_readme_stays_short() -> None:
    assert len(README.read_text().splitlines()) < 200


@pytest.mark.airflow
def test_the_dag_of_the_readme_is_a_dag() -> None:
    pytest.importorskip("airflow")
    (code,) = [code for code in codes("python") if "@dag" in code]
    namespace: dict[str, Any] = {}

    exec(compile(code.replace("\norders()", "\nbuilt = orders()"), "readme", "exec"), namespace)  # noqa: S102

    assert sorted(namespace["built"].task_ids) == ["pack", "push_orders"]
