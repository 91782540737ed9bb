"""The first pages, word by word, as somebody reads them who has a Python and nothing else.

Also what they say of installing is run: `pip install xclaim` finds the wheel of this checkout.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.pages import ROOT, plain_environment, read_page, run

pytestmark = pytest.mark.wheel

PAGES = ("command-line", "python")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    return built


def environment(wheel: Path) -> dict[str, str]:
    """Return the variables of a terminal with a Python, whose pip takes the wheel for xclaim."""
    constraints = wheel.with_name("constraints.txt")
    pinned = (ROOT / "constraints.txt").read_text()
    constraints.write_text(f"{pinned}\nxclaim @ {wheel.as_uri()}\n")
    variables = plain_environment()
    for name in ("PYTHONPATH", "VIRTUAL_ENV"):
        variables.pop(name, None)
    return variables | {
        "PATH": f"{sys.base_prefix}/bin:/usr/bin:/bin",
        "PIP_CONSTRAINT": str(constraints),
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_NO_COMPILE": "1",  # most of the time that an installation takes
        "PIP_QUIET": "1",
    }


@pytest.mark.parametrize("name", PAGES)
def test_a_newcomer_gets_what_the_page_shows(name: str, wheel: Path, tmp_path: Path) -> None:
    page = read_page(ROOT / "docs" / "start" / f"{name}.md")

    run(page, tmp_path, environment(wheel), install=True)

    assert any("install" in block.words for block in page.blocks)
    (installed,) = tmp_path.glob(".venv/lib/python3.*/site-packages/xclaim/__init__.py")
    assert installed.is_file()
