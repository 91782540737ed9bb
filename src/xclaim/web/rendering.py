"""Pages from templates: everything that is not marked as HTML is escaped."""

from __future__ import annotations

from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.responses import HTMLResponse, Response

from xclaim.arguments import visible
from xclaim.web import formats, static_files


def render(template: str, *, status: int = 200, **context: Any) -> Response:
    """Return a page. What is printed in it is escaped, and its names cannot turn the text."""
    return HTMLResponse(environment().get_template(template).render(context), status_code=status)


@cache
def environment() -> Environment:
    """Return the templates, with the filters that they use."""
    templates = Environment(
        loader=PackageLoader("xclaim.web"),
        autoescape=True,  # of every file, whatever its name ends in
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    templates.filters |= {
        "count": formats.count,
        "duration": formats.duration,
        "moment": formats.moment,
        "number": formats.number,
        "readable": formats.readable,
        "since": formats.since,
        "visible": visible,
    }
    templates.globals["static"] = static_files.address_of
    return templates
