"""The session of Python that runs the blocks of one page; `tests.pages` starts it.

It reads a request in each line of its input, and answers with one line: whether the block failed.
What the blocks print goes to the file that is named when it starts. It imports nothing of the
tests: the environment may be a newcomer's.
"""

from __future__ import annotations

import io
import json
import linecache
import os
import sqlite3
import sys
import traceback
from collections.abc import Iterator
from contextlib import nullcontext
from types import ModuleType
from typing import Any


def main(output: str) -> None:
    """Run block after block, until there is no more input."""
    answers = os.fdopen(os.dup(1), "w")
    descriptor = os.open(output, os.O_WRONLY | os.O_APPEND)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    page = ModuleType("__main__")
    requests = sys.stdin
    sys.stdin = io.StringIO()  # a block reads nothing
    sys.modules["__main__"] = page  # dataclasses and pydantic look their module up
    sys.path.insert(0, "")  # the current folder, as in a session at a terminal
    for request in requests:
        failed = _failed(json.loads(request), page)
        sys.stdout.flush()
        sys.stderr.flush()
        answers.write(json.dumps(failed) + "\n")
        answers.flush()


def _failed(request: dict[str, Any], page: ModuleType) -> bool:
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["folder"])
    run = _run_sql if request["language"] == "sql" else _run_python
    try:
        run(request, page)
    except BaseException as error:  # noqa: BLE001  (shown, as an interpreter does)
        frames = error.__traceback__ and error.__traceback__.tb_next and error.__traceback__.tb_next
        traceback.print_exception(error.with_traceback(frames and frames.tb_next))
        return True
    return False


def _run_python(request: dict[str, Any], page: ModuleType) -> None:
    name = request["page"]
    code = "\n" * (request["line"] - 1) + request["code"]  # tracebacks show the page's own lines
    linecache.cache[name] = (len(code), None, code.splitlines(keepends=True), name)
    with _dag() if request["is_dag"] else nullcontext():
        exec(compile(code, name, "exec", dont_inherit=True), page.__dict__)  # noqa: S102  (ours)


def _dag() -> Any:
    from airflow.sdk import DAG

    return DAG("page")


def _run_sql(request: dict[str, Any], _: ModuleType) -> None:
    from xclaim import create_engine

    url = os.environ.get("XCLAIM_DATABASE_URL", "sqlite:///xclaim.db")
    engine = create_engine(url).execution_options(isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        for statement in _statements(request["code"]):
            result = connection.exec_driver_sql(statement)
            if result.returns_rows:
                result.all()
    engine.dispose()


def _statements(code: str) -> Iterator[str]:
    statement = ""
    for line in code.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
    if statement.strip():
        yield statement


if __name__ == "__main__":
    main(sys.argv[1])
