"""Rows that another program or a hand may write: the database takes them, and no driver reads them.

Each is a row of the table in SQL, by what is wrong with it. What a CHECK refuses is none of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Connection

DEEP = "'" + "[" * 3_000 + "]" * 3_000 + "'"
DIGITS = "'" + "7" * 5_000 + "'"
PAST = "'2020-01-01 00:00:00.000'"
CLAIMED = {
    "status": "'claimed'",
    "attempts": "1",
    "claimed_at": PAST,
    "claim_expires_at": PAST,
    "claimed_by": "'somebody'",
    "claim_token": "'00000000000000000000000000000001'",
}
CONSUMED = {
    "status": "'consumed'",
    "attempts": "1",
    "claimed_at": PAST,
    "consumed_at": PAST,
    "consumed_by": "'somebody'",
}
DEAD = {"queue": "'hostile.dead'", "attempts": "20"}
# What no CHECK refuses and only the audit names. In every state:
UNSOUND = {
    "no attempt allowed": {"max_attempts": "0"},
    "fewer attempts allowed than none": {"max_attempts": "-2147483648"},
    "fewer attempts than none": {"attempts": "-2147483648"},
    "an origin without a name": {"origin_queue": "''"},
}
_A_CONSUMER = {"a consumer": {"consumed_by": "'somebody'"}}
UNSOUND_AVAILABLE = {
    **_A_CONSUMER,
    "a claimant": {"claimed_by": "'somebody'"},
    "the end of a lease": {"claim_expires_at": PAST},
    "the time of a claim": {"claimed_at": PAST},
    "the key of a claim": {"claim_key": "'key'"},
}
UNSOUND_CLAIMED = {
    **_A_CONSUMER,
    "no claimant": {"claimed_by": "NULL"},
    "no time of the claim": {"claimed_at": "NULL"},
    "no end of its lease": {"claim_expires_at": "NULL"},
}
UNSOUND_CONSUMED = {
    "no consumer": {"consumed_by": "NULL"},
    "no time of the claim": {"claimed_at": "NULL"},
    "the key of a claim": {"claim_key": "'key'"},
    "a claimant": {"claimed_by": "'somebody'"},
    "the end of a lease": {"claim_expires_at": PAST},
}


@dataclass(frozen=True, slots=True)
class Row:
    """The columns that differ from those of a sound row, in SQL."""

    columns: Mapping[str, str]
    is_read: bool = True  # payload and headers

    def write(self, connection: Connection, **more: str) -> None:
        """Insert it."""
        values = {
            "queue": "'hostile'",
            "origin_queue": "'hostile'",
            "priority": "0",
            "payload": "'1'",
            "headers": "'{}'",
            "created_at": PAST,
            "available_at": PAST,
            **self.columns,
            **more,
        }
        # PostgreSQL takes an id only so.
        by_hand = "OVERRIDING SYSTEM VALUE " if connection.dialect.name == "postgresql" else ""
        names, written = ", ".join(values), ", ".join(values.values())
        statement = f"INSERT INTO xclaim_message ({names}) {by_hand}VALUES ({written})"
        connection.exec_driver_sql(statement.replace("%", "%%"))


def row(*states: Mapping[str, str], is_read: bool = True, **columns: str) -> Row:
    """Return a row with these columns, in some state."""
    merged: dict[str, str] = {}
    for state in states:
        merged |= state
    return Row({**merged, **columns}, is_read)


def _on_both() -> dict[str, Row]:
    return {
        "a number of 5,000 digits": row(payload=DIGITS, is_read=False),
        "a deep payload": row(payload=DEEP, is_read=False),
        "deep headers": row(headers="""'{"a": """ + DEEP.strip("'") + "}'", is_read=False),
        "headers that are a list": row(headers="'[1]'", is_read=False),
        "headers that are a number": row(headers="'7'", is_read=False),
        "headers with 5,000 digits": row(
            headers="""'{"a": """ + DIGITS.strip("'") + "}'", is_read=False
        ),
        "a codec nobody knows": row(
            codec="'nobody-knows'", payload="""'{"data": "YQ=="}'""", is_read=False
        ),
        "a codec of its payload only by name": row(codec="'arrow'", payload="'[1]'", is_read=False),
        "content that its codec cannot decode": row(
            codec="'arrow'", payload="""'{"data": "YQ=="}'""", is_read=False
        ),
        "an encoded payload that is deep": row(codec="'json-types'", payload=DEEP, is_read=False),
        "an object in no storage": row(
            codec="'bytes'",
            payload=f"""'{{"uri": "file:///x", "size": 1, "sha256": "{"0" * 64}"}}'""",
            is_read=False,
        ),
        "an object without a place": row(
            codec="'bytes'", payload="""'{"uri": 7, "size": -1}'""", is_read=False
        ),
        "attempts at the end of the type": row(attempts="2147483647", max_attempts="NULL"),
        "attempts before the end of the type": row(attempts="2147483646", max_attempts="NULL"),
        "a limit at the end of the type": row(max_attempts="2147483647"),
        "the highest priority": row(priority="32767"),
        "the lowest priority": row(priority="-32768"),
        "failures that are text": row(failures="""'"text"'""", attempts="1"),
        "failures that are an object": row(failures="""'{"attempt": 1}'""", attempts="1"),
        "failures of another program": row(
            failures="""'[1, {"attempt": "x"}, null]'""", attempts="1"
        ),
        "failures with 5,000 digits": row(
            failures="""'[{"attempt": """ + DIGITS.strip("'") + "}]'", attempts="1"
        ),
        "deep failures": row(failures=DEEP, attempts="1"),
        "failures that are large": row(
            failures="""'[{"error": \"""" + "x" * 600_000 + """\"}]'""", attempts="1"
        ),
        "failures of a claim that are text": row(CLAIMED, failures="""'"text"'"""),
        "deep failures of a claim": row(CLAIMED, failures=DEEP),
        "a claimant of 5,000 characters": row(CLAIMED, claimed_by="'" + "x" * 5_000 + "'"),
        "a claim without an attempt": row(CLAIMED, attempts="0"),
        "a claim with all attempts": row(CLAIMED, attempts="2147483647", max_attempts="NULL"),
        "a claim with a deep payload": row(CLAIMED, payload=DEEP, is_read=False),
        "a dead letter with a deep payload": row(DEAD, payload=DEEP, is_read=False),
        "a consumed message with a deep payload": row(CONSUMED, payload=DEEP, is_read=False),
        "a unique key with control characters": row(unique_key="'a\n\t\x1b[31m'"),
        **unsound(),
    }


def unsound() -> dict[str, Row]:
    """Return the rows that only the audit names."""
    dead = {name: it for name, it in UNSOUND_AVAILABLE.items() if name != "the key of a claim"}
    states = {
        "available": ({}, UNSOUND | UNSOUND_AVAILABLE),
        "dead": (DEAD, UNSOUND | dead),
        "claimed": (CLAIMED, UNSOUND | UNSOUND_CLAIMED),
        "consumed": (CONSUMED, UNSOUND | UNSOUND_CONSUMED),
    }
    return {
        f"{state}, {name}": row(of_state, columns)
        for state, (of_state, named) in states.items()
        for name, columns in named.items()
    }


ON_POSTGRESQL: dict[str, Row] = {
    **_on_both(),
    "a number that is written short": row(payload="'1e5000'", is_read=False),
    "the highest id": row(CLAIMED, id="9223372036854775806"),
    "available since ever": row(available_at="'-infinity'"),
    "available since before Christ": row(available_at="'0044-03-15 BC'"),
    "available never": row(available_at="'infinity'"),
    "available beyond all years": row(available_at="'294000-01-01'"),
    "created in infinity": row(created_at="'infinity'"),
    "created beyond all years": row(created_at="'294000-01-01'"),
    "created before Christ": row(created_at="'4713-01-02 BC'"),
    "a failed message, available since ever": row(attempts="1", available_at="'-infinity'"),
    "a failed message, available never": row(attempts="1", available_at="'infinity'"),
    "claimed in infinity": row(CLAIMED, claimed_at="'infinity'"),
    "claimed at the end of the type": row(CLAIMED, claimed_at="'294276-12-31 23:59:59'"),
    "claimed since ever": row(CLAIMED, claimed_at="'-infinity'", claim_expires_at="'-infinity'"),
    "claimed for ever": row(CLAIMED, claim_expires_at="'infinity'"),
    "consumed since ever": row(CONSUMED, consumed_at="'-infinity'"),
    "consumed never": row(CONSUMED, consumed_at="'infinity'"),
    "dead since ever": row(DEAD, available_at="'-infinity'"),
    "a consumed message of infinity": row(
        CONSUMED, created_at="'-infinity'", claimed_at="'infinity'", available_at="'infinity'"
    ),
}
_NO_TEXT = "CAST(X'22ff22' AS TEXT)"
_HALVES = (  # of surrogate pairs, which is valid text, and valid JSON
    """'[{"attempt": 1, "at": "2020-01-01T00:00:00Z", "claimed_by": "somebody","""
    """ "error_class": "\\udfff", "error": "before \\ud800 after"}]'"""
)
ON_SQLITE: dict[str, Row] = {
    **_on_both(),
    "a payload that is no JSON": row(payload="'{oops'", is_read=False),
    "an empty payload": row(payload="''", is_read=False),
    "a payload of NaN": row(payload="'NaN'", is_read=False),
    "an infinite number": row(payload="'1e5000'", is_read=False),
    "half a surrogate pair": row(payload="""'"\\ud800"'""", is_read=False),
    "a payload of bytes": row(payload="X'ff00ff'", is_read=False),
    "a payload that is no Unicode": row(payload=_NO_TEXT, is_read=False),
    "headers that are no JSON": row(headers="'oops'", is_read=False),
    "headers that are no Unicode": row(headers=_NO_TEXT, is_read=False),
    "headers of bytes": row(headers="X'ff'", is_read=False),
    "created at no time": row(created_at="'once upon a time'"),
    "created at a number": row(created_at="5"),
    "created at bytes": row(created_at="X'ff'"),
    "created on a day": row(created_at="'2020-01-01'"),
    "created before Christ": row(created_at="'-4713-11-24 12:00:00'"),
    "available before Christ": row(available_at="'-0044-03-15 12:00:00'"),
    "available at nothing": row(available_at="''"),
    "available at no time": row(available_at="'whenever'"),
    "available beyond all years": row(available_at="'99999-01-01 00:00:00.000'"),
    "available at bytes": row(available_at="X'ff'"),
    "attempts of text": row(attempts="'many'"),
    "attempts of bytes": row(attempts="X'ff'"),
    "attempts of a fraction": row(attempts="1.5"),
    "attempts beyond their type": row(attempts="9223372036854775807", max_attempts="NULL"),
    "a limit of text": row(max_attempts="'many'"),
    "a priority of text": row(priority="'urgent'"),
    "a priority of a fraction": row(priority="1.5"),
    "a priority beyond its type": row(priority="9223372036854775807"),
    "a key that is no Unicode": row(unique_key=_NO_TEXT),
    "a key of bytes": row(unique_key="X'ff'"),
    "an origin of bytes": row(origin_queue="X'ff'"),
    "another queue that is no Unicode": row(queue=_NO_TEXT, origin_queue=_NO_TEXT),
    "another queue of bytes": row(queue="X'ff'"),
    "an error that is no Unicode": row(
        last_error=_NO_TEXT, last_error_class=_NO_TEXT, attempts="1"
    ),
    "a codec that is no Unicode": row(codec=_NO_TEXT, is_read=False),
    "failures that are no JSON": row(failures="'{'", attempts="1"),
    "failures of bytes": row(failures="X'5b5d'", attempts="1"),
    "failures that are no Unicode": row(failures="CAST(X'5b22ff225d' AS TEXT)", attempts="1"),
    "failures of a claim that are no JSON": row(CLAIMED, failures="'{'"),
    "failures with half a surrogate pair": row(failures=_HALVES, attempts="1"),
    "failures of half a surrogate pair": row(
        failures="""'[{"attempt": "\\ud800", "at": "\\ud800", "claimed_by": "\\ud800"}]'"""
    ),
    "a noted failure with half a surrogate pair": row(CLAIMED, failures=_HALVES),
    "headers with half a surrogate pair": row(
        headers="""'{"dag_id": "\\ud800", "map_index": "\\udfff"}'""", is_read=False
    ),
    "claimed by bytes": row(CLAIMED, claimed_by="X'ff'"),
    "claimed by no Unicode": row(CLAIMED, claimed_by=_NO_TEXT, claim_key=_NO_TEXT),
    "claimed at no time": row(CLAIMED, claimed_at="'soon'"),
    "claimed at bytes": row(CLAIMED, claimed_at="X'ff'", claim_expires_at="X'ff'"),
    "claimed with attempts of text": row(CLAIMED, attempts="'many'"),
    "claimed with attempts of bytes": row(CLAIMED, attempts="X'ff'"),
    "claimed with no bytes of attempts": row(CLAIMED, attempts="X''"),
    "claimed with infinite attempts": row(CLAIMED, attempts="9e999", max_attempts="NULL"),
    "claimed with attempts of a fraction": row(CLAIMED, attempts="1.5"),
    "a token that is none": row(CLAIMED, claim_token="'none'"),
    "a token that is no Unicode": row(CLAIMED, claim_token=_NO_TEXT),
    "consumed at no time": row(CONSUMED, consumed_at="'soon'", consumed_by=_NO_TEXT),
    "dead at no time": row(DEAD, available_at="''"),
    "dead of no Unicode": row(DEAD, last_error_class=_NO_TEXT),
}
ON = {"postgresql": ON_POSTGRESQL, "sqlite": ON_SQLITE}
