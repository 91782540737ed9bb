"""The site of the documentation is built without a warning, and asks no other host for anything."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("sphinx")
pytest.importorskip("airflow")

from tests.pages import ROOT

pytestmark = [pytest.mark.airflow, pytest.mark.slow]


def build(source: Path, output: Path) -> subprocess.CompletedProcess[str]:
    """Build a site as `make docs` does."""
    options = ["--fail-on-warning", "--keep-going", "--nitpicky", "--quiet"]
    command = [sys.executable, "-m", "sphinx", *options, "-d", str(output / "doctrees")]
    return subprocess.run(
        [*command, str(source), str(output / "html")], capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the built site."""
    output = tmp_path_factory.mktemp("site")
    built = build(ROOT / "docs", output)
    assert built.returncode == 0, built.stderr
    return output / "html"


def test_each_page_is_on_the_site(site: Path) -> None:
    pages = [path.relative_to(ROOT / "docs") for path in (ROOT / "docs").rglob("*.md")]

    built = [page for page in pages if "_build" not in page.parts]

    assert [page for page in built if not (site / page.with_suffix(".html")).exists()] == []


def test_an_example_is_shown_where_a_page_links_to_it(site: Path) -> None:
    (page,) = site.glob("files/examples/dags/share_out.py.html")

    assert "exclusive" in page.read_text()
    assert 'href="files/examples/dags/share_out.py.html"' in (site / "airflow.html").read_text()


def test_the_words_after_a_language_are_not_shown(site: Path) -> None:
    shown = (site / "start" / "command-line.html").read_text()

    assert "highlight-bash" in shown
    assert "no-run" not in shown
    assert "text output" not in shown


FAULTY = """\
# A page

[no such page](gone.md), [no such heading](index.md#nowhere), [no such file](../../gone.py)

<img src="https://elsewhere.example/dot.png">

```{eval-rst}
.. autofunction:: xclaim.no_such
```
"""


def test_what_leads_nowhere_fails_the_build(tmp_path: Path) -> None:
    source = tmp_path / "docs"
    source.mkdir()
    (source / "index.md").write_text(FAULTY)
    configuration = (ROOT / "docs" / "conf.py").read_text()
    (source / "conf.py").write_text(
        configuration.replace("Path(__file__).resolve().parent", f"Path({str(ROOT / 'docs')!r})")
    )

    built = build(source, tmp_path)

    complaints = ("gone.md", "nowhere", "gone.py", "no_such", "elsewhere.example")
    assert built.returncode != 0
    assert [each for each in complaints if each not in built.stderr] == []
