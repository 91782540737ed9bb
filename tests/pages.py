"""Run the code blocks of a page as a newcomer does: in their order, in an empty folder.

`python -m tests.pages docs/guides/fan-out.md` runs one page. CONTRIBUTING.md says what the words
after a block's language mean. A word, a language or a fence that is not known is an error: else a
misspelt `no-run` would run, `sh` for `bash` would not, and a misspelt `output` would be compared
with nothing.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

ROOT = Path(__file__).resolve().parents[1]
SESSION = Path(__file__).resolve().parent / "page_session.py"
WORDS = frozenset({"airflow", "dag", "fails", "install", "no-run", "output"})
NEEDS = frozenset({"airflow", "empty-airflow", "postgresql", "schema"})
RUN = ("bash", "python", "sql")
SHOWN = frozenset({"csv", "diff", "dockerfile", "html", "ini", "json", "text", "toml", "yaml"})
INSTEAD = {"console": "bash", "py": "python", "sh": "bash", "shell": "bash", "yml": "yaml"}

_FENCE = re.compile(r"^[\s>]*(?:(?:[-*+]|\d+[.)])\s+)*(?:`{3,}|~{3,})")
_OPENING = re.compile(r"(?P<indent> *)```(?P<language>[\w-]+|\{[\w-]+\})(?P<info>[^\n`]*)")
_FILE = re.compile(r"(?:#|--|//) ([\w./-]+\.\w+)")
_NEEDS = re.compile(r"^<!-- page: (.+) -->$", re.MULTILINE)
_LIKE_NEEDS = re.compile(r"^[ \t>]*<!--\s*pages?\b.*$", re.IGNORECASE | re.MULTILINE)


class PageError(AssertionError):
    """A block did not do what its page says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A fenced block of code, and what is to be done with it."""

    language: str
    words: frozenset[str]
    reason: str  # why it is not run
    code: str
    line: int

    @property
    def file(self) -> str | None:
        """Return the file that its first line names: it is written there, and not run."""
        found = _FILE.fullmatch(self.code.partition("\n")[0])
        return found[1] if found and "no-run" not in self.words else None

    @property
    def is_left(self) -> bool:
        """Return whether it is for somebody else: test_readme.py runs Airflow's."""
        return bool(self.words & {"airflow", "install", "no-run"})

    @property
    def is_run(self) -> bool:
        """Return whether the suite runs it."""
        return self.language in RUN and not self.file and not self.is_left


@dataclass(frozen=True, slots=True)
class Page:
    """A page of the documentation."""

    path: Path
    needs: frozenset[str]
    blocks: tuple[Block, ...]

    @property
    def name(self) -> str:
        """Return its path in the repository."""
        return (
            self.path.relative_to(ROOT).as_posix()
            if self.path.is_relative_to(ROOT)
            else str(self.path)
        )


def read_page(path: Path) -> Page:
    """Read a page. Raise ValueError for what would be neither run nor known as something to show.

    That is a fence or language that is not known, and a word or an output in a wrong place.
    """
    text = path.read_text()
    blocks = tuple(_blocks(text, path))
    for before, block in zip((None, *blocks), blocks, strict=False):
        _refuse_misplaced(before, block, path)
    return Page(path.resolve(), _needs(text, path), blocks)


def _needs(text: str, path: Path) -> frozenset[str]:
    for found in _LIKE_NEEDS.findall(text):
        if not _NEEDS.fullmatch(found):
            raise ValueError(f"{path}: write {found.strip()} as <!-- page: ... -->, at the left")
    needs = frozenset(word for words in _NEEDS.findall(text) for word in words.split())
    _refuse_unknown(needs - NEEDS, path)
    return needs


def _blocks(text: str, path: Path) -> Iterator[Block]:
    lines = iter(enumerate(text.splitlines(), 1))
    for number, line in lines:
        if not _FENCE.match(line):
            continue
        opening = _OPENING.fullmatch(line)
        if opening is None:
            raise ValueError(f"{path}:{number}: {line!r} opens no block: write ```language")
        code = "".join(_until_closed(lines, opening["indent"], f"{path}:{number}"))
        if not opening["language"].startswith("{"):  # a directive of the site
            yield _block(opening, code, path, number)


def _until_closed(lines: Iterator[tuple[int, str]], indent: str, opened: str) -> Iterator[str]:
    for _, line in lines:
        if line == f"{indent}```":
            return
        if _FENCE.match(line):
            raise ValueError(f"{opened}: {line!r} does not close the block: write ``` alone")
        yield line + "\n"
    raise ValueError(f"{opened}: the block is not closed")


def _block(opening: re.Match[str], code: str, path: Path, number: int) -> Block:
    language = opening["language"]
    if language not in SHOWN.union(RUN):
        instead = INSTEAD.get(language.lower(), language.lower())
        known = [instead] if instead in SHOWN.union(RUN) else sorted(SHOWN.union(RUN))
        raise ValueError(f"{path}:{number}: write {' or '.join(known)} instead of {language}")
    names, _, reason = opening["info"].partition(":")
    words = frozenset(names.split())
    _refuse_unknown(words - WORDS, path)
    return Block(
        language=language,
        words=words,
        reason=reason.strip(),
        code=textwrap.dedent(code),
        line=number + 1,
    )


def _refuse_misplaced(before: Block | None, block: Block, path: Path) -> None:
    allowed = {"output"} if block.language == "text" else WORDS - {"output"}
    if block.words and (block.words - allowed or block.language not in ("text", *RUN)):
        words = ", ".join(sorted(block.words))
        raise ValueError(f"{path}:{block.line}: {words} does not belong after {block.language}")
    if "output" in block.words and (before is None or not (before.is_run or before.is_left)):
        raise ValueError(f"{path}:{block.line}: the block before it is not run: it prints nothing")


def _refuse_unknown(words: frozenset[str], path: Path) -> None:
    if words:
        raise ValueError(
            f"{path}: {', '.join(sorted(words))} after a block's language is not known"
        )


@dataclass(slots=True)
class Terminal:
    """What carries over from block to block: the folder, the variables and a session of Python."""

    folder: Path
    environment: dict[str, str]
    notes: Path  # a folder for what is no part of the page
    session: subprocess.Popen[str] | None = field(default=None)

    def bash(self, code: str) -> tuple[bool, str]:
        """Run commands; return whether they failed, and what they printed."""
        variables, printed = self.notes / "variables", self.notes / "printed"
        keep = f"trap 'env -0 >{shlex.quote(str(variables))}' EXIT\n"
        with printed.open("wb") as output:
            ended = subprocess.run(
                ["/bin/bash", "-o", "pipefail", "-ec", keep + code],
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                check=False,
            )
        self._carry_over(variables.read_text())
        return ended.returncode != 0, printed.read_text(errors="replace")

    def _carry_over(self, variables: str) -> None:
        self.environment = dict(each.split("=", 1) for each in variables.split("\0") if "=" in each)
        self.folder = Path(self.environment["PWD"])

    def python(self, block: Block, page: Page) -> tuple[bool, str]:
        """Run a block of Python or SQL; return whether it failed, and what it printed."""
        printed = self.notes / "session"
        session = self.session or self._start(printed)
        before = printed.stat().st_size
        request = {
            "language": block.language,
            "is_dag": "dag" in block.words,
            "code": block.code,
            "page": page.name,
            "line": block.line,
            "folder": str(self.folder),
            "environment": self.environment,
        }
        answer = _ask(session, request)
        with printed.open(errors="replace") as output:
            output.seek(before)
            return answer != "false\n", output.read()

    def _start(self, printed: Path) -> subprocess.Popen[str]:
        printed.touch()
        python = shutil.which("python", path=self.environment["PATH"])
        if python is None:
            raise PageError(f"no python in {self.environment['PATH']}")
        self.session = subprocess.Popen(
            [python, "-P", str(SESSION), str(printed)],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self.session

    def close(self) -> None:
        """End the session, if one was started."""
        if self.session is not None:
            self.session.communicate()


def _ask(session: subprocess.Popen[str], request: object) -> str:
    to, back = _pipes(session)
    to.write(json.dumps(request) + "\n")
    to.flush()
    return back.readline()  # nothing, if the session has ended


def _pipes(session: subprocess.Popen[str]) -> tuple[IO[str], IO[str]]:
    if session.stdin is None or session.stdout is None:
        raise RuntimeError("the session was started without pipes")
    return session.stdin, session.stdout


def run(page: Page, folder: Path, environment: dict[str, str], *, install: bool = False) -> None:
    """Run the blocks of a page in a folder. Raise PageError for the first that goes wrong.

    `install` runs the blocks that install packages too, as in an environment with nothing in it.
    """
    with _terminal(folder, environment) as terminal:
        printed: str | None = None
        for block in page.blocks:
            if "output" in block.words:
                _compare(page, block, printed)
            elif block.file is not None:
                _write(terminal.folder / block.file, block.code)
            elif block.is_run or (install and "install" in block.words):
                printed = _run_block(page, block, terminal)
            elif block.language in RUN:
                printed = None


@contextmanager
def _terminal(folder: Path, environment: dict[str, str]) -> Iterator[Terminal]:
    with tempfile.TemporaryDirectory(prefix="xclaim-page-") as notes:
        terminal = Terminal(folder, environment, Path(notes))
        try:
            yield terminal
        finally:
            terminal.close()


def _run_block(page: Page, block: Block, terminal: Terminal) -> str:
    if block.language == "bash":
        failed, printed = terminal.bash(block.code)
    else:
        failed, printed = terminal.python(block, page)
    if failed != ("fails" in block.words):
        said = "failed" if failed else "did not fail"
        raise PageError(f"{page.name}:{block.line} {said}\n{block.code}\n{printed}")
    return printed


def _compare(page: Page, block: Block, printed: str | None) -> None:
    if printed is None:  # what was not run has printed nothing
        return
    pattern = "".join(map(_pattern, _tidy(block.code)))
    if not re.fullmatch(pattern, "".join(_tidy(printed)), re.DOTALL):
        raise PageError(
            f"{page.name}:{block.line} is not what was printed\n{block.code}\nbut\n{printed}"
        )


def _pattern(line: str) -> str:
    """Return what a line of the page stands for: `...` is anything, alone any lines or none."""
    if line.strip() == "...":
        return r"(?:.*\n)?"
    return ".*".join(re.escape(part) for part in line.split("..."))


def _tidy(text: str) -> list[str]:
    return [line.rstrip() + "\n" for line in text.strip("\n").splitlines()]


def _write(path: Path, code: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(code)


def plain_environment() -> dict[str, str]:
    """Return the variables of a terminal where nobody has set anything of ours or of Airflow's."""
    ours = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("XCLAIM_", "AIRFLOW_", "_AIRFLOW_"))
    }
    scripts = Path(sys.executable).parent
    path = f"{scripts}{os.pathsep}{ours['PATH']}"
    return ours | {"PATH": path, "TZ": "UTC", "COLUMNS": "120"}  # as wide as the tables of a page


def main() -> None:
    """Run the pages that are named."""
    for name in sys.argv[1:]:
        page = read_page(Path(name))
        with tempfile.TemporaryDirectory() as folder:
            run(page, Path(folder), plain_environment())
        print(f"{page.name}: {sum(block.is_run for block in page.blocks)} blocks ran")  # noqa: T201


if __name__ == "__main__":
    main()
