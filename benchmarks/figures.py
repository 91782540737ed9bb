"""The records of a run, asked for medians and ratios."""

from __future__ import annotations

import json
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.contenders import PEERS, SQLITE_PEERS, XCLAIM

ARTEFACTS = Path(__file__).parents[1] / "docs" / "artefacts" / "benchmarks"
# Beside results.json: what was measured by runs of their own.
IN_AIRFLOW, STEADY, CONCURRENCY, ORDERING = (
    f"{name}.json" for name in ("airflow", "steady", "concurrency", "ordering")
)

# The page's pictures, by how the workloads begin that are in them.
PICTURES = {
    "rates": ("claim_ack_1", "claim_ack_8", "batch_100"),
    "workers": ("claim_ack_",),
    "growth": ("growth_",),
    "pinned": ("pinned",),
}


def record(
    workload: str,
    contender: str,
    number: int,
    figures: Mapping[str, float],
    error: str | None = None,
) -> dict[str, Any]:
    """Return what a run of its own has measured, as the page reads it."""
    return {
        "workload": workload,
        "contender": contender,
        "round": number,
        "figures": figures,
        "error": error,
    }


def keep(name: str, records: Iterable[Mapping[str, Any]]) -> None:
    """Write the records of a run of its own for the page."""
    path = ARTEFACTS / name
    path.write_text(json.dumps(list(records), indent=1) + "\n")
    print(f"written: {path.name}; `python -m benchmarks --report` shows it")


def keep_part(name: str, records: Iterable[Mapping[str, Any]]) -> None:
    """Write the records of a run of some rows; those of the others stay as they were measured."""
    path = ARTEFACTS / name
    before = json.loads(path.read_text()) if path.exists() else []
    rows = {**_by_row(before), **_by_row(records)}
    keep(name, (each for row in rows.values() for each in row))


def _by_row(records: Iterable[Mapping[str, Any]]) -> dict[tuple[str, str], list[Mapping[str, Any]]]:
    rows: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for each in records:
        rows.setdefault((each["workload"], each["contender"]), []).append(each)
    return rows


def beside(folder: Path) -> list[dict[str, Any]]:
    """Return what runs of their own have measured, which is kept beside results.json."""
    paths = [folder / name for name in (IN_AIRFLOW, STEADY, CONCURRENCY, ORDERING)]
    return [each for path in paths if path.exists() for each in json.loads(path.read_text())]


class Figures:
    """All records, by workload, contender and round."""

    def __init__(self, records: Iterable[Mapping[str, Any]]) -> None:
        self._records = list(records)

    def workloads(self) -> list[str]:
        """Return the workloads that ran, in their order."""
        return list(dict.fromkeys(record["workload"] for record in self._records))

    def anybody_sat_out(self) -> bool:
        """Return whether in some workload somebody has fewer rounds than xclaim."""
        rounds = Counter((each["workload"], each["contender"]) for each in self._records)
        return any(
            count < rounds[workload, XCLAIM] and contender in PEERS
            for (workload, contender), count in rounds.items()
        )

    def pictures(self) -> list[str]:
        """Return the pictures for which something was measured: not each run has every workload."""
        ran = self.workloads()
        return [
            name
            for name, prefixes in PICTURES.items()
            if any(each.startswith(prefixes) for each in ran)
        ]

    def contenders(self, workload: str) -> list[str]:
        """Return who took part, in the order of the first round."""
        return list(dict.fromkeys(record["contender"] for record in self._of(workload)))

    def names(self, workload: str) -> list[str]:
        """Return the names of the figures."""
        return list(
            dict.fromkeys(name for record in self._of(workload) for name in record["figures"])
        )

    def values(self, workload: str, contender: str, name: str) -> list[float]:
        """Return one figure's values, round by round."""
        return list(self._by_round(workload, contender, name).values())

    def median(self, workload: str, contender: str, name: str) -> float | None:
        """Return the median over the rounds; None where it was not measured."""
        values = self.values(workload, contender, name)
        return statistics.median(values) if values else None

    def ratio(self, workload: str, first: str, second: str, name: str) -> float | None:
        """Return the median of the ratios within each round."""
        ours = self._by_round(workload, first, name)
        theirs = self._by_round(workload, second, name)
        ratios = [ours[each] / theirs[each] for each in ours if theirs.get(each)]
        return statistics.median(ratios) if ratios else None

    def best(
        self, workload: str, contenders: Sequence[str], name: str, pick: Any = max
    ) -> str | None:
        """Return whose median is the highest, or by ``pick=min`` the lowest."""
        medians = {each: self.median(workload, each, name) for each in contenders}
        measured = {each: value for each, value in medians.items() if value is not None}
        return pick(measured, key=lambda each: measured[each]) if measured else None

    def error(self, workload: str, contender: str) -> str | None:
        """Return why the contender failed, if it did in every round."""
        records = [r for r in self._of(workload) if r["contender"] == contender]
        errors = [record["error"] for record in records if record["error"]]
        return errors[0] if errors and len(errors) == len(records) else None

    def failures(self, workload: str, contender: str) -> str:
        """Return in how many of its rounds the contender failed, as a page says it; "" if never."""
        records = [r for r in self._of(workload) if r["contender"] == contender]
        failed = [record["error"] for record in records if record["error"]]
        return f"{len(failed)} of {len(records)} rounds failed: {failed[0]}" if failed else ""

    def _of(self, workload: str) -> list[Mapping[str, Any]]:
        return [record for record in self._records if record["workload"] == workload]

    def _by_round(self, workload: str, contender: str, name: str) -> dict[int, float]:
        return {
            record["round"]: record["figures"][name]
            for record in self._of(workload)
            if record["contender"] == contender and name in record["figures"]
        }


def failed(records: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return who did not do the work that was measured, and who of ours failed, in which workload.

    That a peer fails, or is missing, is a result: its row says so.
    """
    return sorted(
        {
            f"{record['contender']} in {record['workload']}"
            for record in records
            if record.get("is_wrong")
            or (record["error"] and record["contender"] not in (*PEERS, *SQLITE_PEERS))
        }
    )
