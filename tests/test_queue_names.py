"""One rule for the names of queues, in Python and in the SQL functions."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError

from tests import databases
from xclaim import InvalidArgumentError, Queue, create_engine
from xclaim.arguments import UNREADABLE
from xclaim.operations import migrate

_INVALID = "22023"
_EACH_CHARACTER = text(
    "SELECT code FROM generate_series(1, 1114111) AS code WHERE code NOT BETWEEN 55296 AND 57343"
    " AND chr(code) ~ :unreadable ORDER BY code"
)
GOOD = [
    "a",
    " ",  # within, not alone: see `named`
    "'",
    '"; DROP TABLE xclaim_message; --',
    "%s",
    "\\",
    "$1",
    "$$",
    ":name",
    "{}",
    "a.dead.b",
    "deadx",
    "é",
    "\u0301",
    "日本",
    "\U0001f600",
    "\u0378",  # of no Unicode yet
    "x" * 198,
    "é" * 99,
]
BAD = [
    "\t",
    "\n",
    "\r",
    "\x1b",
    "\x7f",
    "\x85",
    "\x9b",
    "\xa0",
    "\xad",
    "\u1680",
    "\u180e",
    "\u2003",
    "\u200b",
    "\u200e",
    "\u202e",
    "\u2028",
    "\u2029",
    "\u2066",
    "\u3000",
    "\ue000",
    "\ufeff",
    "\U000e0041",
    "\U0010fffd",
    "x" * 199,
    "é" * 100,
    "x.dead",
]
WHOLE = ["", " ", "   ", ".dead", "\u3000"]


def named(characters: str) -> str:
    """Return a name with them in it."""
    return f"a{characters}" if characters.endswith(".dead") else f"a{characters}z"


@pytest.fixture(scope="module")
def engine(postgresql_server: str, _template_url: str) -> Iterator[Engine]:
    with databases.temporary_database(postgresql_server, template=_template_url) as url:
        engine = create_engine(url)
        yield engine
        engine.dispose()


def is_pushed_in_python(engine: Engine, name: str) -> bool:
    try:
        return Queue(name, engine).push(1).queue == name
    except InvalidArgumentError:
        return False


def is_pushed_in_sql(engine: Engine, name: str) -> bool:
    try:
        with engine.begin() as connection:
            connection.execute(text("SELECT xclaim_push(:name, '1')"), {"name": name})
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) != _INVALID:
            raise
        return False
    return True


@pytest.mark.parametrize("characters", GOOD, ids=ascii)
def test_a_name_that_python_takes_is_one_in_sql(engine: Engine, characters: str) -> None:
    name = named(characters)

    assert is_pushed_in_python(engine, name)
    assert is_pushed_in_sql(engine, name)


@pytest.mark.parametrize("name", [*map(named, BAD), *WHOLE], ids=ascii)
def test_a_name_that_python_refuses_is_none_in_sql(engine: Engine, name: str) -> None:
    assert not is_pushed_in_python(engine, name)
    assert not is_pushed_in_sql(engine, name)


def test_each_character_is_the_same_to_both(engine: Engine) -> None:
    with engine.connect() as connection:
        found = connection.scalars(_EACH_CHARACTER, {"unreadable": f"[{UNREADABLE}]"}).all()

    unreadable = re.compile(f"[{UNREADABLE}]")
    characters = [code for code in range(1, 0x110000) if not 0xD800 <= code <= 0xDFFF]
    assert found == [code for code in characters if unreadable.search(chr(code))]
    # All that can be printed is a name.
    assert not [code for code in found if chr(code).isprintable()]


# In a database of another encoding SQL knows letters by that, and not by Unicode.
LATIN1 = "LATIN1"
ALIKE = ["a", "é", "x" * 198, "\t", "\x1b", "\x7f", "x" * 199, "x.dead"]
SQL_TAKES_MORE = ["\xa0", "\xad", "é" * 150]


@pytest.fixture(scope="module")
def latin1(postgresql_server: str) -> Iterator[Engine]:
    with databases.temporary_database(postgresql_server, encoding=LATIN1) as url:
        migrate.upgrade(url)
        engine = create_engine(url)
        yield engine
        engine.dispose()


@pytest.mark.parametrize("name", [*map(named, ALIKE), *WHOLE[:-1]], ids=ascii)
def test_in_another_encoding_most_names_are_the_same_to_both(latin1: Engine, name: str) -> None:
    assert is_pushed_in_python(latin1, name) is is_pushed_in_sql(latin1, name)


@pytest.mark.parametrize("characters", SQL_TAKES_MORE, ids=ascii)
def test_in_another_encoding_sql_takes_names_that_python_refuses(
    latin1: Engine, characters: str
) -> None:
    assert not is_pushed_in_python(latin1, named(characters))
    assert is_pushed_in_sql(latin1, named(characters))


@pytest.mark.parametrize("name", ["日本", "a\N{SNOWMAN}"], ids=ascii)
def test_what_the_encoding_lacks_is_no_name(latin1: Engine, name: str) -> None:
    assert not is_pushed_in_python(latin1, name)
    with pytest.raises(DBAPIError, match="no equivalent in encoding"):
        is_pushed_in_sql(latin1, name)
