"""What the statements ask of a Retry."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any

from xclaim.retry import OF_THE_MESSAGE, Retry, checked_retry


def pause_parameters(retry: Retry) -> dict[str, Any]:
    """Return the parameters of a statement that lets what failed rest, or die."""
    drawn = random.randrange(1_000_000)  # noqa: S311  (of a pause, not of a secret)
    return {**_pauses(retry), **limit_parameters(retry), "drawn": drawn}


@lru_cache
def limit_parameters(retry: Retry) -> Mapping[str, Any]:
    """Return the parameters of a statement that tells whether the attempts are used up."""
    checked_retry(retry)
    is_limited = retry.max_attempts is not OF_THE_MESSAGE
    most = retry.max_attempts if is_limited else None
    return MappingProxyType({"is_limited": is_limited, "most_attempts": most})


@lru_cache
def _pauses(retry: Retry) -> Mapping[str, Any]:
    pauses = retry.pauses()
    return MappingProxyType(
        {"pauses": json.dumps(pauses), "pause_count": len(pauses), "jitter": float(retry.jitter)}
    )
