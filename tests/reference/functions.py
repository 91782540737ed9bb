"""The page of the SQL functions, from the text that the migration has."""

from __future__ import annotations

import re
from collections.abc import Iterator

from tests import sql_functions
from tests.reference import markdown
from tests.reference.markdown import block

_HEAD = re.compile(r"FUNCTION {schema}[.](.+?)\nLANGUAGE", re.DOTALL)


def page() -> str:
    """Return the page."""
    return markdown.page(
        "SQL functions",
        "The verbs in plain SQL, on PostgreSQL: each function, its arguments and what it returns. "
        "[The verbs in SQL](../guides/sql.md) shows how they are used.",
        "They are in the schema of the table, do what their caller may do, and run each as a "
        "statement of its own. Arguments are passed by name, `priority => 3`. Their errors: `XC001`"
        ", the claim is no longer held; `XC002`, the unique key is taken by another payload; "
        "`XC003`, the queue is full, whatever its setting says a push does then; "
        "`22023` and `22004`, an argument makes no sense; `55000`, ordering keys are not enabled, "
        "or the role may neither insert nor see what is under a unique key; `42703`, a trigger "
        "names a column that its table has not.",
        *[part for name in sql_functions.names() for part in _section(name)],
    )


def _section(name: str) -> Iterator[str]:
    heads = {each.partition("(")[0]: each for each in _HEAD.findall(sql_functions.text())}
    yield f"## {name}"
    yield sql_functions.promises()[name]
    yield block(heads[name], "text")
