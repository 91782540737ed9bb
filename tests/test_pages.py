"""Every page of the documentation: its blocks run, and print what the page shows."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.hook.conftest import connection_uri
from tests.pages import ROOT, Page, PageError, plain_environment, read_page, run
from tests.test_moving import RUN_HERE
from xclaim import embedded
from xclaim.operations import migrate

DOCS = ROOT / "docs"
FOLDERS = ("", "start", "guides", "operations", "reference")
PATHS = [ROOT / "README.md", *(path for name in FOLDERS for path in (DOCS / name).glob("*.md"))]
PAGES = [page for page in map(read_page, sorted(PATHS)) if page.blocks]
# The README's are run by test_readme.py, which looks at the queue behind them as well.
RUNNING = [
    page
    for page in PAGES
    if page.path.parent != ROOT and any(block.is_run for block in page.blocks)
]


def parameters(pages: Iterable[Page]) -> list[object]:
    """Return the pages as parameters, those that need Airflow marked so."""
    return [
        pytest.param(
            page,
            id=page.name.removesuffix(".md"),
            marks=[pytest.mark.airflow] if is_of_airflow(page) else [],
        )
        for page in pages
    ]


def is_of_airflow(page: Page) -> bool:
    """Return whether a page runs Airflow."""
    return bool(page.needs & {"airflow", "empty-airflow"}) or any(
        "dag" in block.words for block in page.blocks
    )


@pytest.fixture(scope="module")
def airflow_home(shared_sqlite_folder: Path) -> Path:
    """Return a folder with a metadata database, made by Airflow's own command."""
    home = shared_sqlite_folder / "airflow"
    environment = plain_environment() | airflow_settings(home)
    migrate_metadata = [sys.executable, "-m", "airflow", "db", "migrate"]
    subprocess.run(migrate_metadata, env=environment, check=True, capture_output=True)
    return home


def airflow_settings(home: Path) -> dict[str, str]:
    """Return the variables of an Airflow with its files in a folder."""
    return {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(home.parent / "dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "WARNING",
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
    }


@pytest.fixture
def environment(page: Page, sqlite_folder: Path, request: pytest.FixtureRequest) -> dict[str, str]:
    """Return the variables of a terminal, with what the page says that it needs."""
    variables = plain_environment()
    url = f"sqlite:///{sqlite_folder}/xclaim.db"
    if "postgresql" in page.needs:
        url = request.getfixturevalue("empty_postgresql_url")
        variables["XCLAIM_DATABASE_URL"] = url
        variables["DATABASE_URL"] = url.replace("+psycopg", "", 1)  # as psql has it
        variables["PATH"] += f"{os.pathsep}{embedded._find_programs(18)}"
    if page.needs & {"airflow", "schema"}:
        migrate.upgrade(url)
    if "airflow" in page.needs:
        made: Path = request.getfixturevalue("airflow_home")
        home = sqlite_folder / "airflow"
        home.mkdir()
        (sqlite_folder / "dags").mkdir()
        (home / "airflow.db").write_bytes((made / "airflow.db").read_bytes())
        variables |= airflow_settings(home)
        variables["AIRFLOW_CONN_XCLAIM_DEFAULT"] = connection_uri(url)
    return variables


@pytest.mark.slow
@pytest.mark.parametrize("page", parameters(RUNNING))
def test_the_blocks_of_a_page_run_in_their_order(
    page: Page, environment: dict[str, str], sqlite_folder: Path
) -> None:
    run(page, sqlite_folder, environment)


@pytest.mark.parametrize("page", parameters(PAGES))
def test_a_block_that_is_not_run_says_why(page: Page) -> None:
    unsaid = [block.line for block in page.blocks if "no-run" in block.words and not block.reason]

    assert unsaid == []


def test_few_blocks_are_not_run() -> None:
    blocks = [block for page in PAGES for block in page.blocks]

    left_out = [block for block in blocks if "no-run" in block.words]

    assert len(left_out) <= max(16, len(blocks) // 6)


@pytest.mark.parametrize("page", parameters(PAGES))
def test_what_a_page_tells_to_save_is_run(page: Page) -> None:
    unused = [
        block.file
        for number, block in enumerate(page.blocks)
        if block.file is not None and not is_used(page, number, Path(block.file))
    ]

    assert unused == []


def is_used(page: Page, number: int, file: Path) -> bool:
    """Return whether a later block or a test runs what a block is saved as."""
    if "dags" in file.parts:  # tests/hook/test_airflow_guides.py
        return True
    if file.name in RUN_HERE.get(page.path.name, ()):
        return True
    names = {file.stem, *file.parts[:-1]}
    later = [block.code for block in page.blocks[number + 1 :] if block.is_run or block.file]
    return any(name in code for code in later for name in names)


def written(path: Path, *lines: str) -> Page:
    """Return a page of our own."""
    path = path / "page.md"
    path.write_text("\n".join(lines))
    return read_page(path)


@pytest.mark.parametrize(
    "blocks",
    [
        ("```bash", "false", "```"),
        ("```bash", "false | true", "```"),
        ("```bash", "(exit 3) | cat > file", "true", "```"),
        ("```bash", "yes | head -1", "```"),
        ("```bash fails", "true | true", "```"),
        ("```bash fails", "true", "```"),
        ("```python", "1 / 0", "```"),
        ("```python", "raise SystemExit(0)", "```"),
        ("```python fails", "1 / 1", "```"),
        ("```sql", "SELECT * FROM nowhere", "```"),
        ("```python", "import os; os._exit(0)", "```"),
        ("```bash", "echo one", "```", "```text output", "two", "```"),
        ("```bash", "echo one", "```", "```text output", "on", "```"),
        ("```bash", "echo one; echo two", "```", "```text output", "one", "```"),
        ("```python", "print(1)", "```", "```text output", "1...2", "```"),
    ],
)
def test_what_does_not_do_as_the_page_says_fails(blocks: tuple[str, ...], tmp_path: Path) -> None:
    page = written(tmp_path, *blocks)

    with pytest.raises(PageError, match=r"page\.md:\d"):
        run(page, tmp_path, plain_environment())


@pytest.mark.parametrize("word", ["norun", "no_run", "outputs", "no-run needs a server"])
def test_a_word_that_is_not_known_is_an_error(word: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is not known"):
        written(tmp_path, f"```bash {word}", "true", "```")


@pytest.mark.parametrize(
    ("language", "instead"),
    [
        ("sh", "bash"),
        ("shell", "bash"),
        ("console", "bash"),
        ("Bash", "bash"),
        ("py", "python"),
        ("Python", "python"),
        ("SQL", "sql"),
        ("ruby", "bash or .* or python or .* or yaml"),
    ],
)
def test_a_language_that_is_not_known_is_an_error(
    language: str, instead: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=rf"page\.md:3: write {instead} instead of {language}$"):
        written(tmp_path, "# Title", "", f"```{language}", "exit 1", "```")


@pytest.mark.parametrize("language", ["ini", "toml", "yaml", "json", "text", "dockerfile"])
def test_a_language_that_nobody_runs_is_shown(language: str, tmp_path: Path) -> None:
    page = written(tmp_path, f"```{language}", "nonsense", "```")

    assert not any(block.is_run for block in page.blocks)
    run(page, tmp_path, plain_environment())


@pytest.mark.parametrize(
    "lines",
    [
        ("````bash", "exit 1", "````"),
        ("~~~bash", "exit 1", "~~~"),
        ("``` bash", "exit 1", "```"),
        ("```", "exit 1", "```"),
        ("```{.bash}", "exit 1", "```"),
        ("\t```bash", "exit 1", "\t```"),
        ("> ```bash", "> exit 1", "> ```"),
        ("- ```bash", "  exit 1", "  ```"),
        ("1. ```bash", "   exit 1", "   ```"),
        ("```bash", "exit 1", "``` "),
        ("```bash", "exit 1", "  ```"),
        ("```bash", "exit 1", "````"),
        ("```bash", "exit 1"),
        ("```bash", "exit 1", "", "```python", "1 / 0", "```"),
        ("```python", "1 / 1", "```", "", "```"),
    ],
)
def test_a_fence_that_would_not_be_found_is_an_error(
    lines: tuple[str, ...], tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=r"page\.md:\d+: .*block"):
        written(tmp_path, *lines)


@pytest.mark.parametrize(
    "before",
    [
        (),
        ("```yaml", "a: 1", "```"),
        ("```text", "nothing", "```"),
        ("```python", "# worker.py", "print(1)", "```"),
        ("```bash", "echo 1", "```", "```text output", "1", "```"),
    ],
)
def test_an_output_of_what_is_not_run_is_an_error(before: tuple[str, ...], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="prints nothing"):
        written(tmp_path, *before, "```text output", "1", "```")


@pytest.mark.parametrize("word", ["no-run: a reason", "install", "airflow"])
def test_an_output_of_what_others_run_is_left_alone(word: str, tmp_path: Path) -> None:
    page = written(tmp_path, f"```bash {word}", "exit 1", "```", "```text output", "1", "```")

    run(page, tmp_path, plain_environment())


@pytest.mark.parametrize(
    "opening", ["python output", "bash output", "sql output", "json output", "text fails"]
)
def test_a_word_of_another_language_is_an_error(opening: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="does not belong after"):
        written(tmp_path, "```bash", "true", "```", f"```{opening}", "1", "```")


@pytest.mark.parametrize(
    "comment",
    [
        "<!-- Page: postgresql -->",
        "<!-- PAGE: postgresql -->",
        "  <!-- page: postgresql -->",
        "<!--page: postgresql-->",
        "<!-- page postgresql -->",
        "<!-- page: postgresql --> ",
        "<!-- page: postgresq -->",
    ],
)
def test_a_comment_that_would_not_be_found_is_an_error(comment: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="page"):
        written(tmp_path, "# Title", comment)


def test_a_page_is_one_terminal_and_one_session(tmp_path: Path) -> None:
    page = written(
        tmp_path,
        "```bash",
        "mkdir work; cd work; export COLOUR='light blue'",
        "```",
        "```python",
        "import os",
        "def colour(): return os.environ['COLOUR']",
        "```",
        "```python",
        "# later/worker.py",
        "print('later')",
        "```",
        "```python",
        "print(colour(), os.path.basename(os.getcwd()), __name__)",
        "```",
        "```text output",
        "light blue work __main__",
        "```",
        "```bash fails",
        "python later/worker.py; ls nowhere",
        "```",
        "It says:",
        "```text output",
        "later",
        "...nowhere...",
        "```",
        "```bash no-run: it would destroy the house",
        "exit 1",
        "```",
        "```text output",
        "not compared",
        "```",
    )

    run(page, tmp_path, plain_environment())

    assert (tmp_path / "work" / "later" / "worker.py").exists()


def test_an_error_shows_the_lines_of_the_page(tmp_path: Path) -> None:
    page = written(
        tmp_path,
        "```python fails",
        "def divide():",
        "    1 / 0",
        "divide()",
        "```",
        "```text output",
        "Traceback (most recent call last):",
        '  File "...page.md", line 4, in <module>',
        "    divide()",
        "...",
        "ZeroDivisionError: division by zero",
        "```",
    )

    run(page, tmp_path, plain_environment())


def test_only_a_newcomer_installs(tmp_path: Path) -> None:
    page = written(tmp_path, "```bash install", "touch installed", "```")

    run(page, tmp_path, plain_environment())
    assert not (tmp_path / "installed").exists()

    run(page, tmp_path, plain_environment(), install=True)
    assert (tmp_path / "installed").exists()
