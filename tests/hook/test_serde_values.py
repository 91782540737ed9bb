"""A message as Airflow's serde writes it: nothing is imported or run that was not allowed."""

from __future__ import annotations

import datetime as dt
import io
import json
import sys
import types
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import attr
import numpy as np
import pydantic
import pytest
from airflow.sdk import Asset, AssetAlias

from tests.airflow_versions import since
from xclaim import PayloadReadError, PayloadRefusedError
from xclaim.airflow.xcom import serde_values
from xclaim.airflow.xcom.serde import AirflowSerde
from xclaim.errors import PayloadCorruptedError
from xclaim.payloads.payloads import Payloads

pytestmark = pytest.mark.airflow

ran: list[str] = []


@dataclass(frozen=True)
class Parcel:
    label: str
    at: dt.datetime | None = None
    tags: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        ran.append("Parcel")


@attr.define(frozen=True)
class Box:
    width: int = attr.field(validator=attr.validators.gt(0))
    _note: str = "none"
    items: list[Any] = attr.Factory(list)

    def __attrs_post_init__(self) -> None:
        ran.append("Box")


class Order(pydantic.BaseModel):
    city: str
    weight: Decimal


class Own:
    def __init__(self, text: str) -> None:
        ran.append("Own")
        self.text = text

    @staticmethod
    def deserialize(data: Any, version: int) -> Own:  # noqa: ARG004
        return Own(data)


@pytest.fixture
def allowed(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return what sets [core] allowed_deserialization_classes, as a user does."""

    def allow(*patterns: str) -> None:
        monkeypatch.setenv("AIRFLOW__CORE__ALLOWED_DESERIALIZATION_CLASSES", " ".join(patterns))
        serde_values._patterns.cache_clear()

    ran.clear()
    serde_values._patterns.cache_clear()
    yield allow
    serde_values._patterns.cache_clear()


def written(value: Any) -> io.BytesIO:
    file = io.BytesIO()
    AirflowSerde().encode(value, file)
    file.seek(0)
    return file


def forged(name: str, data: Any = None, version: Any = 0) -> io.BytesIO:
    return io.BytesIO(
        json.dumps({"__classname__": name, "__version__": version, "__data__": data}).encode()
    )


def read(file: io.BytesIO) -> Any:
    return AirflowSerde().decode(file)


@pytest.mark.parametrize(
    "value",
    [
        Parcel("a", dt.datetime(2026, 3, 29, 3, 30, tzinfo=dt.UTC), ["x"]),
        Box(1, "n", [Decimal("1.5"), {"b": (1, 2)}]),
        Order(city="Oslo", weight=Decimal("1.5")),
    ],
    ids=["dataclass", "attrs", "pydantic"],
)
def test_a_class_that_the_user_allows_comes_back_as_it_was(allowed: Any, value: Any) -> None:
    allowed(f"{__name__}.*")
    file = written([value, {"nested": value}])
    ran.clear()

    assert read(file) == [value, {"nested": value}]
    assert ran == []


@pytest.mark.parametrize(
    "value",
    [
        dt.date(2026, 3, 29),
        dt.timedelta(days=-1, microseconds=1),
        (1, (2, 3)),
        {1, 2},
        frozenset({"a"}),
        Decimal("-1234.5"),
        pytest.param(UUID(int=7), marks=since("3.2", "UUIDs in serde")),
        np.int64(2**62),
        Asset(name="orders", uri="s3://bucket/orders", extra={"a": 1}),
        AssetAlias(name="orders"),
    ],
    ids=repr,
)
def test_plain_values_and_assets_need_no_permission(allowed: Any, value: Any) -> None:
    allowed()

    found = read(written({"value": value}))["value"]

    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    "name",
    [
        "airflow.sdk.definitions.connection.Connection",
        "airflow.sdk.definitions.variable.Variable",
        "airflow.models.connection.Connection",
        "airflow.__main__.X",
        "airflow.sdk.definitions.asset.os.system",
        "subprocess.Popen",
        "builtins.eval",
        "builtins.object",
        "pandas.core.frame.DataFrame",
        "pyiceberg.table.Table",
        f"{__name__}.Parcel",
        "",
        "x",
        "..",
        "x" * 100_000,
    ],
)
def test_what_only_airflow_allows_is_refused_without_a_call(allowed: Any, name: str) -> None:
    allowed("airflow.*")

    with pytest.raises(PayloadRefusedError, match="not allowed here") as caught:
        read(forged(name, {"conn_id": "x", "conn_type": "y"}))

    assert len(str(caught.value)) < 500
    assert ran == []


def test_a_refused_name_is_not_imported(
    allowed: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "never_imported.py").write_text("raise SystemExit('it ran')")
    monkeypatch.syspath_prepend(tmp_path)
    allowed("shop.*", "airflow.*")

    with pytest.raises(PayloadRefusedError):
        read(forged("never_imported.Order", {}))

    assert "never_imported" not in sys.modules


def test_a_wildcard_runs_no_program(
    allowed: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "shop_with_program"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "__main__.py").write_text("raise SystemExit('it ran')")
    monkeypatch.syspath_prepend(tmp_path)
    allowed("shop_with_program.*")

    with pytest.raises(PayloadRefusedError):
        read(forged("shop_with_program.__main__.Order", {}))

    assert "shop_with_program.__main__" not in sys.modules


def test_what_an_allowed_module_imported_is_not_allowed_with_it(
    allowed: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = types.ModuleType("shop_that_imports")
    module.Parcel = Parcel  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    allowed("shop_that_imports.*")

    with pytest.raises(PayloadRefusedError, match="none of that module"):
        read(forged("shop_that_imports.Parcel", {"label": "a"}))


def test_a_class_brings_its_own_way_if_it_is_allowed(allowed: Any) -> None:
    with pytest.raises(PayloadRefusedError):
        read(forged(f"{__name__}.Own", "text"))
    assert ran == []

    allowed(f"{__name__}.Own")
    assert read(forged(f"{__name__}.Own", "text")).text == "text"


def test_a_class_that_code_allows_is_allowed(allowed: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from xclaim.airflow.versions import allow_class, serde

    allowed()
    monkeypatch.setattr(serde, "_extra_allowed", set(serde._extra_allowed))
    allow_class(Parcel)

    assert read(forged(f"{__name__}.Parcel", {"label": "a"})) == Parcel("a")


@pytest.mark.parametrize(
    "text",
    [
        b"{",
        b"[" * 200_000,
        json.dumps({"__classname__": 1, "__version__": 0}).encode(),
        json.dumps({"__classname__": "datetime.date", "__version__": "1"}).encode(),
        json.dumps({"__classname__": "datetime.date", "__version__": 99, "__data__": "x"}).encode(),
        json.dumps({"__classname__": "builtins.set", "__version__": 1, "__data__": [[]]}).encode(),
        pytest.param(
            json.dumps({"__classname__": "uuid.UUID", "__version__": 1, "__data__": "x"}).encode(),
            marks=since("3.2", "UUIDs in serde"),
        ),
        json.dumps({"__classname__": f"{__name__}.Parcel", "__version__": 0}).encode(),
        json.dumps(
            {"__classname__": f"{__name__}.Box", "__version__": 0, "__data__": {"evil": 1}}
        ).encode(),
        json.dumps({"__classname__": f"{__name__}.Box", "__version__": 0, "__data__": {}}).encode(),
    ],
    ids=range(10),
)
def test_what_serde_did_not_write_is_corrupted(allowed: Any, text: bytes) -> None:
    import base64

    allowed(f"{__name__}.*")
    payloads = Payloads(codecs=[AirflowSerde()])

    with pytest.raises(PayloadReadError) as caught:
        payloads.read({"data": base64.b64encode(text).decode()}, "airflow-serde", queue="q")

    assert isinstance(caught.value, PayloadCorruptedError)
    assert ran == []


def test_a_dict_that_looks_like_old_serde_is_a_dict(allowed: Any) -> None:
    allowed()
    value = {"__type": "datetime.datetime", "__var": 1}

    assert read(io.BytesIO(json.dumps(value).encode())) == value


PRIME = 2**61 - 1
OF_ONE_HASH = [number * PRIME for number in range(15_000)]


def class_of(name: str, data: Any, version: int = 1) -> dict[str, Any]:
    return {"__classname__": name, "__version__": version, "__data__": data}


@pytest.mark.parametrize("kind", ["builtins.set", "builtins.frozenset"])
@pytest.mark.parametrize(
    "write",
    [
        lambda number: number,
        lambda number: class_of("decimal.Decimal", str(number)),
        lambda number: class_of("builtins.tuple", [number, 1]),
    ],
    ids=["int", "decimal", "tuple"],
)
def test_a_set_of_one_hash_is_refused_before_it_is_made(kind: str, write: Any) -> None:
    file = forged(kind, [write(number) for number in OF_ONE_HASH], 1)

    with pytest.raises(PayloadCorruptedError, match="the same hash"):
        read(file)


class Counted(pydantic.BaseModel):
    numbers: set[int] = set()
    pairs: set[tuple[int, int]] = set()


@pytest.mark.parametrize(
    "data",
    [
        {"numbers": OF_ONE_HASH},
        {"numbers": [f" {number}" for number in OF_ONE_HASH]},
        {"pairs": [[number, 1] for number in OF_ONE_HASH]},
    ],
)
def test_a_model_makes_no_set_of_one_hash(allowed: Any, data: Any) -> None:
    allowed(f"{__name__}.*")

    with pytest.raises(PayloadCorruptedError, match="the same hash"):
        read(forged(f"{__name__}.Counted", data, 1))


def test_a_set_of_many_numbers_and_a_list_of_one_hash_come_back(allowed: Any) -> None:
    allowed(f"{__name__}.*")
    value = [set(range(15_000)), OF_ONE_HASH, Counted(numbers=set(range(500)), pairs={(1, 2)})]

    assert read(written(value)) == value
