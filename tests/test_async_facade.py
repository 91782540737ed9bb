"""AsyncQueue has the verbs of Queue: generated, and not changed since."""

from __future__ import annotations

import ast

from tests.async_facade import TARGET, facade


def test_the_verbs_of_async_queue_are_those_of_queue() -> None:
    generated, written = ast.parse(facade()), ast.parse(TARGET.read_text())

    assert ast.unparse(generated) == ast.unparse(written), "run python -m tests.async_facade"
