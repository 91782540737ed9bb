"""The XCom backend: what goes where, and that it comes back as it was."""

from __future__ import annotations

import datetime as dt
import http
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from xclaim.airflow.versions import serialized_by_name

import numpy as np
import pandas as pd
import pendulum
import polars as pl
import pyarrow as pa
import pydantic
import pytest
from airflow.sdk import Asset
from airflow.sdk.bases.xcom import BaseXCom

from tests.airflow_versions import since
from tests.hook.conftest import configure_xcoms
from tests.payloads import emulators
from xclaim.airflow.xcom import XclaimXComBackend, backend
from xclaim.airflow.xcom.cleaning import _cleaned
from xclaim.airflow.xcom.objects import Owner
from xclaim.airflow.xcom.settings import xcom_settings
from xclaim.errors import (
    EncryptionKeyError,
    InvalidArgumentError,
    PayloadCorruptedError,
    PayloadGoneError,
    PayloadRefusedError,
    StorageError,
)

pytestmark = [pytest.mark.airflow, pytest.mark.usefixtures("xcom_folder")]

KEY = "cw_0x689RpI-jtRR7oE8h_eQsKImvJapLeSbXpwF4e4="
OTHER_KEY = "nGM6ZKkDcXlhRTBlnVsuy3A5zcwsgKpFoUCkrkOPAvk="
LARGE = "large " * 1000
MOMENT = dt.datetime(2026, 3, 29, 3, 30, 15, 123456, ZoneInfo("Europe/Oslo"))


class Order(pydantic.BaseModel):
    city: str
    weight: Decimal


@dataclass
class Parcel:
    label: str


# One for each type that Airflow's serde knows and that can be installed here.
SAMPLES: dict[str, Any] = {
    "NoneType": None,
    "bool": True,
    "int": 2**70,
    "float": 0.1,
    "str": "naïve 'quoted' ☃ \x00 \\u0000",
    "list": [1, "two", None, [3.5]],
    "dict": {"a": {"b": [1, {"c": None}]}, "": 1},
    "builtins.tuple": (1, ("two", 3)),
    "builtins.set": {1, 2},
    "builtins.frozenset": frozenset({"a"}),
    "datetime.datetime": MOMENT,
    "datetime.date": dt.date(2026, 3, 29),
    "datetime.timedelta": dt.timedelta(days=-1, microseconds=1),
    "pendulum.date.Date": pendulum.date(2026, 3, 29),
    "pendulum.datetime.DateTime": pendulum.datetime(2026, 3, 29, tz="Europe/Oslo"),
    "pendulum.tz.timezone.FixedTimezone": pendulum.FixedTimezone(3600),
    "pendulum.tz.timezone.Timezone": pendulum.timezone("Europe/Oslo"),
    "zoneinfo.ZoneInfo": ZoneInfo("Asia/Kathmandu"),
    "decimal.Decimal": Decimal("-1234.5"),  # serde keeps no more digits than a float has
    "uuid.UUID": UUID(int=7),
    "numpy.int64": np.int64(2**62),
    "numpy.float64": np.float64(0.1),
    "numpy.bool": np.bool_(True),
    "airflow.sdk.definitions.asset.Asset": Asset(name="orders", uri="s3://bucket/orders"),
}
_MARKS = {"uuid.UUID": since("3.2", "UUIDs in serde")}
EACH_SAMPLE = [
    pytest.param(value, id=name, marks=_MARKS.get(name, ())) for name, value in SAMPLES.items()
]


def stored(value: Any, **owner: Any) -> Any:
    """Return what the database has for a value, as JSON has it."""
    coordinates: dict[str, Any] = {"dag_id": "shop", "task_id": "pack", "run_id": "run"}
    result = XclaimXComBackend.serialize_value(
        value, **(coordinates | {"map_index": -1, "key": "return_value"} | owner)
    )
    return json.loads(json.dumps(result))


def loaded(database_value: Any) -> Any:
    return XclaimXComBackend.deserialize_value(SimpleNamespace(value=database_value))


def objects(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


@pytest.mark.parametrize("value", EACH_SAMPLE)
def test_a_small_value_stands_in_the_database_as_airflow_writes_it(
    xcom_folder: Path, value: Any
) -> None:
    expected = json.loads(json.dumps(BaseXCom.serialize_value(value)))

    assert stored(value) == expected
    assert loaded(stored(value)) == value
    assert objects(xcom_folder) == []


@pytest.mark.parametrize("item", [False, None, "\x01", "ü", "", 2**40, 0.1, "large", [1]])
def test_the_size_that_counts_is_that_of_the_json(xcom_folder: Path, item: Any) -> None:
    fitting = [item]
    while len(json.dumps([*fitting, item])) <= 1000:
        fitting.append(item)

    stored(fitting)
    assert objects(xcom_folder) == []
    stored([*fitting, item])
    assert len(objects(xcom_folder)) == 1


@pytest.mark.parametrize("value", EACH_SAMPLE)
def test_a_large_value_comes_back_as_it_was(
    xcom_folder: Path, monkeypatch: pytest.MonkeyPatch, value: Any
) -> None:
    configure_xcoms(monkeypatch, threshold="0")

    found = loaded(stored(value))

    assert found == value
    assert type(found) is type(loaded(BaseXCom.serialize_value(value)))
    assert len(objects(xcom_folder)) == 1


@pytest.mark.parametrize("padding", ["", LARGE], ids=["small", "large"])
@pytest.mark.parametrize(
    "value",
    [
        [np.float64(0.1), np.str_("a")],
        [(1, 2), {"a": (3,)}],
        {1: "one", None: 2},
        [float("nan"), -0.0, 1.0, True, 1, 10**30],
        [http.HTTPStatus.OK],
        Counter({"a": 1}),
        {"__type": "a key that serde once gave a meaning to", "__var": 1},
    ],
    ids=repr,
)
def test_what_only_looks_like_json_is_as_with_airflows_own_backend(
    value: Any, padding: str
) -> None:
    whole = [value, padding]
    written = json.loads(json.dumps(BaseXCom.serialize_value(whole)))
    theirs = outcome(lambda: BaseXCom.deserialize_value(SimpleNamespace(value=written)))

    ours = outcome(lambda: loaded(stored(whole)))

    assert ours == theirs


def outcome(work: Callable[[], Any]) -> str:
    """Return the result, with its types, or the error."""
    try:
        return repr(work())
    except Exception as error:  # noqa: BLE001  (whatever Airflow raises)
        return type(error).__name__


def test_there_is_a_sample_of_each_type_that_serde_knows() -> None:
    from xclaim.airflow.versions import serde

    known = {name for name in serde._serializers if name.split(".")[0] in sys.modules}
    tested_below = {"pandas.DataFrame", "pandas.core.frame.DataFrame", "pydantic.main.BaseModel"}

    missing = known - SAMPLES.keys() - tested_below
    assert {name for name in missing if not name.startswith("numpy.")} == set()


def test_a_pydantic_model_comes_back_if_airflow_allows_it(
    xcom_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from xclaim.airflow.versions import allow_class

    allow_class(Order)

    for threshold in ("0", "1000"):
        configure_xcoms(monkeypatch, threshold=threshold)
        assert loaded(stored(Order(city="Oslo", weight=Decimal("1.5")))) == Order(
            city="Oslo", weight=Decimal("1.5")
        )
    assert len(objects(xcom_folder)) == 1


def test_a_class_that_airflow_does_not_allow_is_refused_from_an_object_as_well(
    xcom_folder: Path,
) -> None:
    reference = stored([Parcel(LARGE)])

    assert len(objects(xcom_folder)) == 1
    with pytest.raises(ImportError, match="was not found in allow list"):
        loaded(reference)


@pytest.mark.parametrize("rows", [3, 30_000])
def test_a_dataframe_comes_back_as_it_was(
    xcom_folder: Path, monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    configure_xcoms(monkeypatch, threshold="65536")
    frame = pd.DataFrame({"id": range(rows), "city": ["Oslo"] * rows, "at": pd.Timestamp(MOMENT)})

    pd.testing.assert_frame_equal(loaded(stored(frame)), frame)
    is_small = rows < 1000 and serialized_by_name(pd.DataFrame)
    assert len(objects(xcom_folder)) == (not is_small)


def test_a_large_dataframe_is_written_as_arrow() -> None:
    frame = pd.DataFrame({"id": range(3000)})

    assert stored(frame)["codec"] == "arrow"


@pytest.mark.parametrize("rows", [3, 3000])
def test_what_airflow_has_no_serializer_for_comes_back_by_our_codecs(
    xcom_folder: Path, rows: int
) -> None:
    polars_frame = pl.DataFrame({"id": range(rows)})
    table = pa.table({"id": range(rows)})

    assert loaded(stored(polars_frame)).equals(polars_frame)
    assert loaded(stored(table)).equals(table)
    assert loaded(stored(b"x" * rows)) == b"x" * rows
    assert len(objects(xcom_folder)) == 3


def test_a_frame_that_arrow_has_no_type_for_fails_as_it_does_in_airflow(
    xcom_folder: Path,
) -> None:
    frame = pd.DataFrame({"mixed": [object(), 1, "two"] * 1000})

    with pytest.raises(Exception, match="object"):
        stored(frame)

    assert objects(xcom_folder) == []


REFERENCE = {
    "__xclaim__": "object",
    "uri": "file:///etc/passwd",
    "size": 1,
    "sha256": "0" * 64,
    "codec": "bytes",
}


@pytest.mark.parametrize(
    "value",
    [
        REFERENCE,
        [REFERENCE],
        {"__xclaim__": "value", "value": 1},
        {"__xclaim__": {"__xclaim__": "value", "value": REFERENCE}},
        {"uri": "s3://bucket/x", "size": 1, "sha256": "", "codec": "bytes"},
    ],
)
@pytest.mark.parametrize("threshold", ["0", "1000"])
def test_a_value_that_looks_like_our_reference_comes_back_unharmed(
    monkeypatch: pytest.MonkeyPatch, value: Any, threshold: str
) -> None:
    configure_xcoms(monkeypatch, threshold=threshold)

    assert loaded(stored(value)) == value


def test_a_text_that_is_a_path_is_not_followed() -> None:
    reference = stored(LARGE)

    assert loaded(stored(reference["uri"])) == reference["uri"]
    assert loaded(reference["uri"]) == reference["uri"]


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd",
        "{folder}/xcom/../secret",
        "{folder}/xcom/shop/run/pack/-1/../../../../secret",
        "{folder}/xcom/shop/run/pack/-1/%2e%2e/secret",
        "{folder}/secret",
        "{folder}/xcom/shop/run/pack/-1/return_value/link",
    ],
)
def test_a_forged_reference_reads_nothing_outside_the_prefix(xcom_folder: Path, path: str) -> None:
    real = stored(LARGE)
    secret = xcom_folder / "secret"
    secret.write_bytes(b"secret")
    Path(real["uri"].removeprefix("file://")).parent.joinpath("link").symlink_to(secret)
    forged = real | {"uri": "file://" + path.format(folder=xcom_folder), "codec": "bytes"}

    with pytest.raises(PayloadRefusedError):
        loaded(forged)


@pytest.mark.parametrize(
    "forged",
    [
        {"__xclaim__": "object"},
        REFERENCE | {"size": "1"},
        REFERENCE | {"key": 1},
        {"__xclaim__": "value"},
        {"__xclaim__": "what a later version wrote"},
    ],
)
def test_what_is_no_reference_is_an_error_and_not_a_value(forged: dict[str, Any]) -> None:
    with pytest.raises(PayloadCorruptedError):
        loaded(forged)


def test_an_object_that_is_gone_is_an_error() -> None:
    reference = stored(LARGE)
    Path(reference["uri"].removeprefix("file://")).unlink()

    with pytest.raises(PayloadGoneError, match="clear the task that pushed it"):
        loaded(reference)


def test_a_storage_that_is_not_there_is_another_error(xcom_folder: Path) -> None:
    reference = stored(LARGE)
    shutil.rmtree(xcom_folder)

    with pytest.raises(StorageError):
        loaded(reference)


@pytest.mark.parametrize("options", [{}, {"compression": "zstd"}])
@pytest.mark.parametrize("encryption", ["", "airflow", "xclaim"])
def test_large_values_are_compressed_and_encrypted_as_configured(
    xcom_folder: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, str], encryption: str
) -> None:
    monkeypatch.setenv("AIRFLOW__CORE__FERNET_KEY", KEY)
    monkeypatch.setenv("XCLAIM_FERNET_KEYS", OTHER_KEY)
    configure_xcoms(monkeypatch, encryption=encryption, **options)

    reference = stored(LARGE)

    suffixes = ["zstd"] * bool(options) + ["fernet"] * bool(encryption)
    assert reference["codec"] == "+".join(["json", *suffixes])
    assert loaded(reference) == LARGE
    (path,) = objects(xcom_folder)
    assert (LARGE.encode() in path.read_bytes()) == (not suffixes)


def test_without_the_key_an_encrypted_value_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__CORE__FERNET_KEY", KEY)
    configure_xcoms(monkeypatch, encryption="airflow")
    reference = stored(LARGE)

    monkeypatch.setenv("AIRFLOW__CORE__FERNET_KEY", f"{OTHER_KEY},{KEY}")
    configure_xcoms(monkeypatch)
    assert loaded(reference) == LARGE
    for key, encryption in ((OTHER_KEY, "airflow"), (KEY, "")):
        monkeypatch.setenv("AIRFLOW__CORE__FERNET_KEY", key)
        configure_xcoms(monkeypatch, encryption=encryption)
        with pytest.raises(EncryptionKeyError):
            loaded(reference)


def test_without_a_storage_all_values_stay_in_the_database(monkeypatch: pytest.MonkeyPatch) -> None:
    reference = stored(LARGE)
    configure_xcoms(monkeypatch, storage="")

    assert stored(LARGE) == LARGE
    with pytest.raises(StorageError, match="xcom_storage is not set here"):
        loaded(reference)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("threshold", "64K"),
        ("threshold", "-1"),
        ("compression", "gzip"),
        ("encryption", "yes"),
        ("storage_options", "{"),
        ("storage_options", "[]"),
    ],
)
def test_a_wrong_option_is_named(monkeypatch: pytest.MonkeyPatch, option: str, value: str) -> None:
    configure_xcoms(monkeypatch, **{option: value})

    with pytest.raises(InvalidArgumentError, match=rf"\[xclaim\] xcom_{option} "):
        stored(1)


def test_importing_the_backend_reads_no_option_and_loads_nothing_large() -> None:
    code = (
        "import sys; import airflow.sdk.bases.xcom; before = set(sys.modules);"
        "from xclaim.airflow.versions import conf;"
        "conf.getimport('core', 'xcom_backend');"
        "new = set(sys.modules) - before;"
        "print(sorted(name for name in new if name.split('.')[0] in"
        " ('fsspec', 'upath', 'pandas', 'pyarrow', 'sqlalchemy', 'psycopg', 'cryptography'"
        ", 'zstandard', 'polars', 's3fs')))"
    )
    environment = {
        "AIRFLOW__CORE__XCOM_BACKEND": "xclaim.airflow.xcom.XclaimXComBackend",
        "AIRFLOW__XCLAIM__XCOM_STORAGE": "nonsense",
        "AIRFLOW__XCLAIM__XCOM_THRESHOLD": "nonsense",
    }

    result = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=True,
    )

    assert result.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("key", ["skipmixin_key", "_link_TriggerDagRunLink"])
def test_what_airflows_scheduler_and_api_read_stays_in_the_database(
    xcom_folder: Path, key: str
) -> None:
    assert stored({"skipped": [LARGE]}, key=key) == {"skipped": [LARGE]}
    assert objects(xcom_folder) == []


OWNERS = [
    Owner("shop", "group.pack", "manual__2026-11-20T00:00:00+00:00", -1, "return_value"),
    Owner("shop", "pack", "run", 12, "a/b ~2f%2F..\\ü☃"),
    Owner("shop", "pack", "..", 0, "."),
]


@pytest.mark.parametrize("owner", OWNERS)
def test_whose_an_object_is_can_be_read_from_its_name(xcom_folder: Path, owner: Owner) -> None:
    reference = stored(LARGE, **owner._asdict())

    assert Owner.of_uri(reference["uri"]) == owner
    assert loaded(reference) == LARGE
    assert xcom_folder in objects(xcom_folder)[0].parents


def test_a_name_that_is_too_long_is_cut_and_says_so() -> None:
    reference = stored(LARGE, key="k" * 512)

    assert loaded(reference) == LARGE
    assert Owner.of_uri(reference["uri"]) is None


def test_a_limit_of_the_environment_leaves_exclusive_values_as_configured(
    xcom_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__CORE__FERNET_KEY", KEY)
    configure_xcoms(monkeypatch, encryption="airflow", compression="zstd")
    monkeypatch.setenv("XCLAIM_MAX_IN_ROW", "10000")

    payloads = xcom_settings().payloads

    assert payloads.require_storage().url == xcom_folder.as_uri()
    assert payloads.requires_encryption
    assert payloads.compression == "zstd"
    assert payloads.max_in_row == 10_000


def test_purging_deletes_the_object_and_never_fails(
    xcom_folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    owner = OWNERS[0]
    reference = stored(LARGE, **owner._asdict())

    for value in (1, None, "file:///etc/passwd", REFERENCE, {"__xclaim__": "object"}):
        purge_as(owner, value)
    assert len(objects(xcom_folder)) == 1
    purge_as(owner, reference)
    purge_as(owner, reference)
    assert objects(xcom_folder) == []

    configure_xcoms(monkeypatch, storage="")
    purge_as(owner, reference)
    assert "was not deleted" in caplog.text


def test_a_purge_that_does_not_know_whose_the_xcom_is_deletes_nothing(xcom_folder: Path) -> None:
    xcom: Any = SimpleNamespace(key="return_value", value=stored(LARGE))

    XclaimXComBackend.purge(xcom)

    assert len(objects(xcom_folder)) == 1


LONG = Owner("d" * 200, "t" * 250, "manual__" + "r" * 200, 3, "k" * 512)


@pytest.mark.parametrize("owner", [*OWNERS, LONG])
def test_purging_deletes_what_the_xcom_itself_owns(xcom_folder: Path, owner: Owner) -> None:
    reference = stored(LARGE, **owner._asdict())

    purge_as(owner, reference)

    assert objects(xcom_folder) == []


@pytest.mark.parametrize("field", Owner._fields)
@pytest.mark.parametrize("owner", [*OWNERS, LONG])
def test_an_xcom_deletes_no_object_of_another_one(
    xcom_folder: Path, owner: Owner, field: str
) -> None:
    reference = stored(LARGE, **owner._asdict())
    changed: Any = 7 if field == "map_index" else f"{getattr(owner, field)}x"

    purge_as(owner._replace(**{field: changed}), reference)
    purge_as(Owner("mallory", "t", "r", -1, "k"), reference)

    assert len(objects(xcom_folder)) == 1
    assert loaded(reference) == LARGE


def test_two_names_that_are_cut_to_the_same_length_share_no_folder(xcom_folder: Path) -> None:
    mine, other = LONG, LONG._replace(dag_id="d" * 199 + "e")
    references = [stored(LARGE, **owner._asdict()) for owner in (mine, other)]

    purge_as(other, references[0])
    purge_as(mine, references[1])

    assert len(objects(xcom_folder)) == 2


def purge_as(owner: Owner, reference: Any) -> None:
    """Purge a reference as the deletion of an XCom does that holds it."""
    token = backend._deleted.set(owner)
    try:
        xcom: Any = SimpleNamespace(key=owner.key, value=reference)
        XclaimXComBackend.purge(xcom)
    finally:
        backend._deleted.reset(token)


@pytest.mark.parametrize("index", ["one", "9" * 20])
def test_an_object_whose_index_is_no_number_is_nobody_s(index: str) -> None:
    assert Owner.of_uri(f"file:///x/xcom/shop/run/pack/{index}/key/{'0' * 32}") is None


@pytest.mark.parametrize("name", ["sh~00op", "~ed~b0~80"])
def test_an_object_with_a_name_that_no_database_takes_is_nobody_s(name: str) -> None:
    assert Owner.of_uri(f"file:///x/xcom/{name}/run/pack/-1/key/{'0' * 32}") is None


@pytest.fixture(scope="module")
def s3() -> Iterator[emulators.Emulator]:
    with emulators.s3() as store:
        yield store


@pytest.mark.parametrize("has_connection", [True, False])
def test_large_values_go_to_s3_and_are_cleaned_there(
    s3: emulators.Emulator, monkeypatch: pytest.MonkeyPatch, *, has_connection: bool
) -> None:
    bucket = s3.new_bucket()
    extra = {"endpoint_url": s3.endpoint, "region_name": "us-east-1"}
    connection = {"conn_type": "aws", "login": "test", "password": "test", "extra": extra}
    # Of this test alone: Airflow keeps the file system of a connection for the process.
    monkeypatch.setenv("AIRFLOW_CONN_XCOM_LAKE", json.dumps(connection))
    if has_connection:
        configure_xcoms(monkeypatch, storage=f"s3://xcom_lake@{bucket}/airflow")
    else:
        options = json.dumps(dict(s3.options))
        configure_xcoms(monkeypatch, storage=f"s3://{bucket}/airflow", storage_options=options)

    reference = stored(LARGE, run_id="manual__2026-11-20T00:00:00+00:00")
    purge_as(LONG, reference)

    assert reference["uri"].startswith(f"s3://{bucket}/airflow/xcom/shop/manual__2026-")
    assert loaded(reference) == LARGE
    assert Owner.of_uri(reference["uri"]) == Owner(
        "shop", "pack", "manual__2026-11-20T00:00:00+00:00", -1, "return_value"
    )
    counts = _cleaned(lambda _: set(), timedelta(0), dry_run=False)
    assert counts == {"deleted": 1, "kept": 0, "unknown": 0}
    with pytest.raises(PayloadGoneError):
        loaded(reference)
