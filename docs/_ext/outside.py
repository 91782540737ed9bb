"""Pages for the files that pages link to and that are no pages: examples, SQL, Markdown elsewhere.

In a repository browser a link such as `../examples/dags/share_out.py` shows the file. On the site
it leads to a page that shows it. Data, such as JSON, stays a download.
"""

from __future__ import annotations

import html
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

_ROOT = Path(__file__).resolve().parents[2]
_FOLDER = "files"  # of the site
_LANGUAGES = {
    ".js": "javascript",
    ".md": "markdown",
    ".py": "python",
    ".sh": "bash",
    ".sql": "postgresql",  # which knows dollar quotes, and lets dbt's braces pass
    ".toml": "toml",
    ".yml": "yaml",
}


def _redirect(app: Sphinx, doctree: nodes.document) -> None:
    """Let each link to such a file lead to its page, and note that there is to be one."""
    document = app.env.docname
    for node in [*doctree.findall(addnodes.download_reference), *_unknown_pages(doctree)]:
        path = _path_of(node, Path(app.env.doc2path(document)).parent)
        if path is None:
            continue
        name = f"{_FOLDER}/{path.relative_to(_ROOT).as_posix()}"
        _files(app.env).setdefault(document, set()).add(name)
        uri = app.builder.get_relative_uri(document, name)
        node.replace_self(nodes.reference("", "", *node.children, internal=True, refuri=uri))


def _unknown_pages(doctree: nodes.document) -> Iterator[nodes.Element]:
    """Yield the links to folders, and to Markdown that is not among the pages, as MyST has them."""
    for node in doctree.findall(addnodes.pending_xref):
        is_markdown = node["refdomain"] == "doc" and Path(node["reftarget"]).is_absolute()
        if is_markdown or (node["reftype"] == "myst" and "/" in node["reftarget"]):
            yield node


def _path_of(node: nodes.Element, folder: Path) -> Path | None:
    path: Path = (folder / node["reftarget"]).resolve()
    if path.is_dir() and path.is_relative_to(_ROOT):
        return path
    if isinstance(node, addnodes.pending_xref):
        path = path.with_name(f"{path.name}.md")
    is_shown = path.suffix in _LANGUAGES and path.is_relative_to(_ROOT) and path.is_file()
    return path if is_shown else None


def _files(environment: BuildEnvironment) -> dict[str, set[str]]:
    """Return which files each page links to; Sphinx keeps it for the next build."""
    found: dict[str, set[str]] = vars(environment).setdefault("files_shown", {})
    return found


def _forget(_: Sphinx, environment: BuildEnvironment, document: str) -> None:
    _files(environment).pop(document, None)


def _pages(app: Sphinx) -> Iterator[tuple[str, dict[str, Any], str]]:
    """Yield the pages to be written."""
    for name in sorted({name for names in _files(app.env).values() for name in names}):
        shown = name.removeprefix(f"{_FOLDER}/")
        text, language = _shown(_ROOT / shown)
        code = app.builder.highlighter.highlight_block(  # type: ignore[attr-defined]  # of HTML
            text, language
        )
        title = html.escape(shown)
        yield name, {"title": title, "body": f"<h1>{title}</h1>\n{code}"}, "page.html"


def _shown(path: Path) -> tuple[str, str]:
    """Return a text and its language: a file, or the names in a folder."""
    if path.is_dir():
        names = sorted(each.name for each in path.iterdir() if not each.name.startswith((".", "_")))
        return "\n".join(names), "text"
    return path.read_text(), _LANGUAGES[path.suffix]


def setup(app: Sphinx) -> dict[str, Any]:
    """Ask Sphinx to be called."""
    app.connect("doctree-read", _redirect, priority=400)  # before it notes what is downloaded
    app.connect("env-purge-doc", _forget)
    app.connect("html-collect-pages", _pages)
    return {"version": "1", "parallel_read_safe": False, "parallel_write_safe": True}
