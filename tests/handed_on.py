"""Errors on their way to somebody else: pickled, copied, and raised in a worker process."""

from __future__ import annotations

import copy
import multiprocessing
import pickle
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from importlib import import_module
from pkgutil import walk_packages
from types import ModuleType
from typing import Any

from tests.eventually import PATIENCE
from xclaim import XclaimError


def _pickled(protocol: int, error: BaseException) -> Any:
    return pickle.loads(pickle.dumps(error, protocol))  # noqa: S301  (our own)


WAYS: dict[str, Callable[[BaseException], Any]] = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    **{f"pickle-{n}": partial(_pickled, n) for n in range(pickle.HIGHEST_PROTOCOL + 1)},
}


def errors_of(package: ModuleType, *, without: Sequence[str] = ()) -> list[type[XclaimError]]:
    """Return the errors that the modules of a package define; all but some are imported."""
    names = [module.name for module in walk_packages(package.__path__, f"{package.__name__}.")]
    return [
        value
        for name in names
        if not name.startswith(tuple(without))
        for value in vars(import_module(name)).values()
        if isinstance(value, type) and issubclass(value, XclaimError) and value.__module__ == name
    ]


def caught(error: BaseException) -> BaseException:
    """Return the error as one has it who caught it: with a cause, and a note."""
    error.add_note("while the orders were packed")
    try:
        raise error from LookupError("the cause")
    except BaseException as raised:  # noqa: BLE001  (whatever it is)
        return raised


def assert_same(again: BaseException, error: BaseException) -> None:
    """Compare what errors tell whoever catches them; a cause gets lost, as Python's own does."""
    assert type(again) is type(error)
    assert (str(again), repr(again), again.args) == (str(error), repr(error), error.args)
    assert vars(again) == vars(error)
    assert again.__notes__ == ["while the orders were packed"]


def raised_by_workers(errors: Sequence[BaseException]) -> list[BaseException | None]:
    """Return what arrives here of errors that worker processes raise, of two kinds of pool."""
    spawn = multiprocessing.get_context("spawn")
    # Not for good: of an error that cannot be unpickled multiprocessing hears nothing.
    with ProcessPoolExecutor(1, spawn) as executor, spawn.Pool(1) as pool:
        futures = [executor.submit(_raise, error) for error in errors]
        results = [pool.apply_async(_raise, (error,)) for error in errors]
        return [future.exception(PATIENCE) for future in futures] + [
            _exception_of(partial(result.get, PATIENCE)) for result in results
        ]


def _raise(error: BaseException) -> None:
    raise error


def _exception_of(call: Callable[[], object]) -> BaseException | None:
    try:
        call()
    except BaseException as error:  # noqa: BLE001  (whatever it is)
        return error
    return None
