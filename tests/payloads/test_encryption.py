from __future__ import annotations

import base64
import copy
import io
import pickle
import traceback

import pytest

from xclaim.errors import EncryptionKeyError, InvalidArgumentError, PayloadCorruptedError
from xclaim.payloads.layers.encryption import Keys

MIB = 1024 * 1024
# Always the same, because parallel workers compare the names of their tests.
OLD, NEW = (base64.urlsafe_b64encode(bytes(range(n, n + 32))).decode() for n in (1, 101))


@pytest.fixture
def keys() -> Keys:
    return Keys(NEW)


def encrypted(keys: Keys, payload: bytes) -> bytes:
    file = io.BytesIO()
    with keys.encrypting(file) as stream:
        stream.write(payload)
    return file.getvalue()


def decrypted(keys: Keys, stream: bytes, key_id: str | None = None) -> bytes:
    with keys.decrypting(io.BytesIO(stream), key_id) as file:
        return file.read()


def frames(stream: bytes) -> list[bytes]:
    found = []
    while stream:
        length = 4 + int.from_bytes(stream[:4])
        found.append(stream[:length])
        stream = stream[length:]
    return found


@pytest.mark.parametrize("size", [0, 1, MIB - 1, MIB, MIB + 1, 3 * MIB, 3 * MIB + 17])
def test_what_is_encrypted_is_decrypted(keys: Keys, size: int) -> None:
    payload = bytes(range(256)) * (size // 256) + b"x" * (size % 256)

    stream = encrypted(keys, payload)

    assert decrypted(keys, stream) == payload
    assert len(frames(stream)) == max(1, -(-size // MIB))


def test_it_is_decrypted_in_small_pieces_and_lines(keys: Keys) -> None:
    stream = encrypted(keys, b"one\ntwo\n" * 300_000)

    with keys.decrypting(io.BytesIO(stream)) as file:
        first = [file.read(3), file.read(1), file.readline()]
        lines = sum(1 for _ in file)

    assert first == [b"one", b"\n", b"two\n"]
    assert lines == 599_998


def test_small_writes_make_large_frames(keys: Keys) -> None:
    file = io.BytesIO()

    with keys.encrypting(file) as stream:
        for _ in range(3000):
            stream.write(b"x" * 1000)

    assert len(frames(file.getvalue())) == 3


def test_the_payload_cannot_be_seen(keys: Keys) -> None:
    assert b"secret" not in encrypted(keys, b"secret" * 1000)


def test_equal_payloads_are_encrypted_differently(keys: Keys) -> None:
    assert encrypted(keys, b"yes") != encrypted(keys, b"yes")


@pytest.mark.parametrize("cut", [1, 4, 100, MIB, 2 * MIB + 500])
def test_a_stream_that_is_cut_off_is_corrupted(keys: Keys, cut: int) -> None:
    stream = encrypted(keys, b"x" * 3 * MIB)

    with pytest.raises(PayloadCorruptedError, match="cut off"):
        decrypted(keys, stream[:-cut])


def test_a_stream_without_its_last_frames_is_corrupted(keys: Keys) -> None:
    stream = b"".join(frames(encrypted(keys, b"x" * 3 * MIB))[:-1])

    with pytest.raises(PayloadCorruptedError, match="cut off"):
        decrypted(keys, stream)


def test_a_stream_that_was_not_closed_is_corrupted(keys: Keys) -> None:
    file = io.BytesIO()
    stream = keys.encrypting(file)
    stream.write(b"x" * 3 * MIB)
    del stream

    with pytest.raises(PayloadCorruptedError, match="cut off"):
        decrypted(keys, file.getvalue())


@pytest.mark.parametrize("order", [[1, 0, 2], [0, 0, 2], [0, 2], [1, 2], [0, 1, 1, 2]])
def test_frames_in_another_order_are_corrupted(keys: Keys, order: list[int]) -> None:
    of_stream = frames(encrypted(keys, b"x" * 3 * MIB))

    with pytest.raises(PayloadCorruptedError, match="mixed up"):
        decrypted(keys, b"".join(of_stream[number] for number in order))


def test_a_frame_of_another_stream_is_corrupted(keys: Keys) -> None:
    mine, other = (frames(encrypted(keys, letter * 3 * MIB)) for letter in (b"a", b"b"))

    with pytest.raises(PayloadCorruptedError, match="of another payload"):
        decrypted(keys, mine[0] + other[1] + mine[2])


def test_something_after_the_end_is_corrupted(keys: Keys) -> None:
    stream = encrypted(keys, b"x")

    with pytest.raises(PayloadCorruptedError, match="follows its end"):
        decrypted(keys, stream + stream)


@pytest.mark.parametrize("at", [4, 30, 500, -1])
def test_a_changed_byte_is_corrupted(keys: Keys, at: int) -> None:
    stream = bytearray(encrypted(keys, b"x" * 1000))
    stream[at] ^= 1

    with pytest.raises(PayloadCorruptedError, match="was changed"):
        decrypted(keys, bytes(stream), keys.primary_id)


@pytest.mark.parametrize("stream", [b"", b"abc", b"\xff" * 100, b"\x00" * 100])
def test_what_is_no_stream_is_corrupted(keys: Keys, stream: bytes) -> None:
    with pytest.raises(PayloadCorruptedError):
        decrypted(keys, stream, keys.primary_id)


def test_old_keys_decrypt_and_the_first_encrypts() -> None:
    before = encrypted(Keys(OLD), b"before")

    rotated = Keys(f"{NEW}, {OLD}")

    assert decrypted(rotated, before) == b"before"
    assert decrypted(rotated, before, Keys(OLD).primary_id) == b"before"
    assert decrypted(Keys(NEW), encrypted(rotated, b"after")) == b"after"
    assert rotated.primary_id == Keys(NEW).primary_id


def test_a_key_that_was_rotated_away_is_named(keys: Keys) -> None:
    old = Keys([OLD])
    stream = encrypted(old, b"x")

    with pytest.raises(EncryptionKeyError, match=old.primary_id):
        decrypted(keys, stream, old.primary_id)
    with pytest.raises(EncryptionKeyError, match="XCLAIM_FERNET_KEYS"):
        decrypted(keys, stream)


@pytest.mark.parametrize(
    "malformed",
    [
        "hunter2",
        "hunter2" * 10,
        NEW[:-1],
        NEW + "A",
        f"{NEW},",
        "",
        " ",
        "hünter2",
        f"{NEW},hunter2",
    ],
)
def test_a_malformed_key_is_refused_and_not_shown(malformed: str) -> None:
    with pytest.raises(InvalidArgumentError, match="generate_key") as refused:
        Keys(malformed)

    shown = "".join(traceback.format_exception(refused.value))
    assert "nter2" not in shown
    assert NEW[:10] not in shown


def test_no_key_at_all_is_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="no encryption key"):
        Keys([])


def test_nothing_shown_of_the_keys_is_the_keys(keys: Keys) -> None:
    assert NEW[:6] not in repr(keys) + str(keys) + keys.primary_id
    assert keys.primary_id in repr(keys)


def test_a_pickle_has_the_ids_of_the_keys_alone(keys: Keys) -> None:
    pickled = pickle.dumps(keys)

    assert keys.primary_id.encode() in pickled
    assert NEW.encode() not in pickled
    assert base64.urlsafe_b64decode(NEW) not in pickled


def test_pickled_keys_are_those_of_the_environment_where_they_are_loaded(
    keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = pickle.loads(pickle.dumps(pickle.loads(pickle.dumps(keys))))  # noqa: S301
    monkeypatch.setenv("XCLAIM_FERNET_KEYS", f"{OLD},{NEW}")

    assert repr(loaded) == repr(keys)
    assert decrypted(loaded, encrypted(keys, b"x")) == b"x"
    assert loaded.primary_id == Keys(OLD).primary_id


def test_pickled_keys_that_the_environment_lacks_are_named(
    keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = pickle.loads(pickle.dumps(keys))  # noqa: S301
    stream = encrypted(keys, b"x")

    monkeypatch.delenv("XCLAIM_FERNET_KEYS", raising=False)
    with pytest.raises(EncryptionKeyError, match=f"{keys.primary_id}.*XCLAIM_FERNET_KEYS"):
        decrypted(loaded, stream, keys.primary_id)
    monkeypatch.setenv("XCLAIM_FERNET_KEYS", OLD)
    with pytest.raises(EncryptionKeyError, match=keys.primary_id):
        decrypted(loaded, stream, keys.primary_id)


def test_copies_of_keys_are_the_keys(keys: Keys) -> None:
    assert copy.copy(keys) is keys
    assert copy.deepcopy([keys])[0] is keys


def test_what_is_bound_opens_for_who_says_the_same(keys: Keys) -> None:
    file = io.BytesIO()
    with keys.encrypting(file, b"orders") as stream:
        stream.write(b"x" * 3 * MIB)

    with keys.decrypting(io.BytesIO(file.getvalue()), None, b"orders") as read:
        assert read.read() == b"x" * 3 * MIB
    with pytest.raises(PayloadCorruptedError, match="another queue, unique key or codec"):
        keys.decrypting(io.BytesIO(file.getvalue()), None, b"payroll").read()
    with pytest.raises(PayloadCorruptedError, match="another queue, unique key or codec"):
        decrypted(keys, file.getvalue())


def test_the_environment_gives_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XCLAIM_FERNET_KEYS", f"{NEW},{OLD}")
    given = Keys.from_environment()
    monkeypatch.setenv("XCLAIM_FERNET_KEYS", " ")
    empty = Keys.from_environment()
    monkeypatch.delenv("XCLAIM_FERNET_KEYS")

    assert given is not None
    assert given.primary_id == Keys(NEW).primary_id
    assert empty is None
    assert Keys.from_environment() is None


def test_a_fingerprint_needs_the_key() -> None:
    both, new, old = Keys([NEW, OLD]), Keys(NEW), Keys(OLD)

    mine = new.fingerprint(b"digest", new.primary_id)

    assert mine == both.fingerprint(b"digest", new.primary_id)
    assert mine != both.fingerprint(b"digest", old.primary_id)
    assert mine != new.fingerprint(b"another", new.primary_id)
    assert mine != new.fingerprint(b"digest", new.primary_id, b"elsewhere")
    with pytest.raises(EncryptionKeyError, match=old.primary_id):
        new.fingerprint(b"digest", old.primary_id)
