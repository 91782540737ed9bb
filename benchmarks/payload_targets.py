"""The numbers of docs/payloads.md, as measured: `python -m benchmarks.payload_targets` prints them.

A ratio is the median of the rounds' ratios, with the interval that holds it at 95 %. Below its goal
it is a miss, unless the interval reaches the goal: then the machine was too noisy to tell.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from benchmarks.turns import RESULTS

_SIZES = {
    "one by one": "one at a time",
    "batches of 100": "in 100s",
    "batches of 1,000": "in 1,000s",
}


def table(results: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines of the table."""
    yield "| what | goal | measured | |"
    yield "| --- | --- | --- | --- |"
    for place, name in (("file", "`file://`"), ("s3", "S3")):
        yield from _memory(results[f"memory, {place}"], name)
    small = results["small payloads"]
    for size, name in _SIZES.items():
        what = f"rate of small payloads with a storage, of that without, {name}"
        yield line(what, small["goal"], small[size]["rate"]["storage / without"])
    for place, name in (("file", "`file://`"), ("s3", "S3")):
        large = results[f"xcoms of 100 MB, {place}"]
        for kind in ("DataFrame", "JSON"):
            what = f"{kind} of 100 MB through XCom, speed of common-io's backend = 1, {name}"
            yield line(what, large["goal"], large[kind]["times as fast"])
    quick = results["xcoms of 1 KB, small"]
    for kind in ("text", "dict"):
        what = f"XComs of 1 KB ({kind}) written and read, speed of Airflow's backend = 1"
        yield line(what, quick["goal"], quick[kind]["rate"])
    whole = results["xcoms of 1 KB, run"]
    for kind in ("push", "pull"):
        what = f"the same through a task of a real Airflow: `xcom_{kind}`"
        yield line(what, whole["goal"], whole[kind]["rate"])


def _memory(measured: Mapping[str, Any], name: str) -> Iterator[str]:
    limit, size = measured["limit"], measured["MiB"]
    for kind in ("plain", "zstd and encrypted"):
        push, claim = (measured[kind][verb]["peak MiB"] for verb in ("push", "claim"))
        verdict = "reached" if max(push, claim) < limit else "**missed**"
        shown = f"{push} and {claim} MiB"
        what = f"memory of a client that pushes, then streams {size:,} MiB, {kind}, {name}"
        yield f"| {what} | < {limit} MiB | {shown} | {verdict} |"


def line(what: str, goal: float, measured: Mapping[str, float]) -> str:
    """Return the line of a ratio: what was measured, and whether it reaches its goal."""
    median, low, high = (measured[name] for name in ("median", "low", "high"))
    verdict = "reached" if median >= goal else "in the noise" if high >= goal else "**missed**"
    return f"| {what} | >= {goal} | {median:.2f} ({low:.2f}-{high:.2f}) | {verdict} |"


def main() -> None:
    """Print the table."""
    print("\n".join(table(json.loads(RESULTS.read_text()))))


if __name__ == "__main__":
    main()
