"""Metrics as the text of a scrape: as Prometheus's own library writes it, in half the time.

A scrape has more than a thousand samples, which differ in a label and a number. The library looks
at each name of a metric and of a label anew. Here the library writes what stands above the samples,
and the first of them. If this module writes the same line, it writes the others too. Where names
are to be escaped, which few ask for, the lines differ: then the library writes all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from prometheus_client.utils import floatToGoString

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric
    from prometheus_client.samples import Sample


class _Only:
    """As a registry that has these metrics."""

    def __init__(self, *metrics: Metric) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[Metric]:
        return iter(self._metrics)


def encoded(metrics: Iterable[Metric], encode: Callable[[Any], bytes]) -> bytes:
    """Return what an encoder of the library returns of these metrics.

    All samples of a metric must have one form, for only the first is compared with the library's:
    a timestamp or an exemplar of a later one would be left out.
    """
    end = encode(_Only())
    return b"".join([*(_of_one(metric, encode, end) for metric in metrics), end])


def _of_one(metric: Metric, encode: Callable[[Any], bytes], end: bytes) -> bytes:
    samples, metric.samples = metric.samples, metric.samples[:1]
    begin = encode(_Only(metric)).removesuffix(end)
    lines = list(map(_line, samples))
    if begin.endswith("".join(lines[:1]).encode()):
        return begin + "".join(lines[1:]).encode()
    metric.samples = samples
    return encode(_Only(metric)).removesuffix(end)


def _line(sample: Sample) -> str:
    labels = _labels(tuple(sample.labels.items()))
    return f"{sample.name}{labels} {floatToGoString(sample.value)}\n"  # type: ignore[no-untyped-call]  # of the library


@lru_cache(1_024)  # those of a queue are those of each of its numbers, and of the next scrape
def _labels(labels: tuple[tuple[str, str], ...]) -> str:
    if not labels:
        return ""
    written = ",".join(f'{name}="{_escaped(text)}"' for name, text in sorted(labels))
    return f"{{{written}}}"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
