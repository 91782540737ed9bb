"""The format of what is encrypted, fixed: what is in a database now must be read for ever.

The numbers were computed once. Who changes the format changes its name, `fernet`, and keeps this.
"""

from __future__ import annotations

import base64
import hashlib
import io
import os
import time

import pytest
from cryptography.fernet import Fernet

from xclaim.payloads.envelope import Owner
from xclaim.payloads.layers.encryption import Keys

KEY = base64.urlsafe_b64encode(bytes(range(32))).decode()
OWNER = Owner(("orders",), "order-1")
PAYLOAD = b'{"id":1}'
STREAM = bytes.fromhex(
    "0000008980000000006553f1006465666768696a6b6c6d6e6f70717273eda330f90eecd16c003e5fb09bcff358d65613"
    "0aa20abf6e970d2cb38bd106d53ee55cbe597716a6a02a6e62ee744dcb9397b35852e40df45c24fa361d5a995cb64a8c"
    "c58033ffe761796a43d676c09caa0e382ed1f586ded2d07f7db4b91c9188aeb0cb237d55fd0ee908328fd2c383"
)
FINGERPRINT = "ec209458fbf8280c6517188a57c015f847db58179bd7a6e3b0ba5184453e8825"


def test_the_id_of_a_key_is_fixed() -> None:
    assert Keys(KEY).primary_id == "c525e88fa148"


def test_what_was_encrypted_once_is_decrypted() -> None:
    with Keys(KEY).decrypting(
        io.BytesIO(STREAM), "c525e88fa148", OWNER.binding_of("json+fernet")
    ) as file:
        assert file.read() == PAYLOAD


def test_the_bytes_that_are_written_are_fixed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "urandom", lambda count: bytes(range(100, 100 + count)))
    monkeypatch.setattr(time, "time", lambda: 1_700_000_000.5)
    written = io.BytesIO()

    with Keys(KEY).encrypting(written, OWNER.binding_of("json+fernet")) as file:
        file.write(PAYLOAD)

    assert written.getvalue() == STREAM


def test_a_frame_is_what_the_docs_say() -> None:
    token = base64.urlsafe_b64encode(STREAM[4:])
    bound_to = b'["json+fernet",["orders"],"order-1"]'

    plain = Fernet(KEY).decrypt(token)

    assert int.from_bytes(STREAM[:4]) == len(STREAM) - 4
    assert plain[:16] == bytes(range(100, 116))  # the stream's id
    assert plain[16:24] == bytes(8)  # the number of its first frame
    assert plain[24] == 1  # which is its last
    assert plain[25:57] == hashlib.sha256(bound_to).digest()
    assert plain[57:] == PAYLOAD


def test_a_fingerprint_is_fixed() -> None:
    digest = hashlib.sha256(PAYLOAD).digest()

    assert Keys(KEY).fingerprint(digest, "c525e88fa148", OWNER.binding) == FINGERPRINT


@pytest.mark.parametrize(
    ("owner", "codec", "bound_to"),
    [
        (OWNER, "bytes+zstd+fernet", b'["bytes+zstd+fernet",["orders"],"order-1"]'),
        (Owner(("orders",)), "json+fernet", b'["json+fernet",["orders"],null]'),
        (Owner(("zoë",), '"]'), "json+fernet", b'["json+fernet",["zo\\u00eb"],"\\"]"]'),
        (Owner(("dag", "run", "task", "-1", "key")), "serde+fernet",
         b'["serde+fernet",["dag","run","task","-1","key"],null]'),
    ],
)  # fmt: skip
def test_what_a_payload_is_bound_to_is_fixed(owner: Owner, codec: str, bound_to: bytes) -> None:
    assert owner.binding_of(codec) == bound_to
