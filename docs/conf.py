"""How Sphinx builds the site: `make docs`. CONTRIBUTING.md says how pages are written."""

import os
import re
import sys
from pathlib import Path

DOCS = Path(__file__).resolve().parent
sys.path[:0] = [str(DOCS / "_ext"), str(DOCS.parent)]
# Airflow writes its configuration when it is imported, and not into anybody's home here.
os.environ["AIRFLOW_HOME"] = str(DOCS / "_build" / "airflow")

from tests.api_docs import MODULES  # noqa: E402
from xclaim import __version__  # noqa: E402

project = "xclaim"
author = "The xclaim authors"
copyright = "the xclaim authors"
version = release = __version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx_copybutton",
    "decisions",  # this and what follows are our own, in _ext
    "no_requests",
    "outside",
]
exclude_patterns = ["_build"]
templates_path: list[str] = []

# Links to a heading as a repository browser makes them: operations.md#who-may-do-what.
myst_heading_anchors = 4

# A public name that leads nowhere is an error. Private ones, which signatures name all the same,
# lead nowhere: nobody has to make one. What others document is not looked up: no network.
nitpicky = True
_PUBLIC = "|".join(re.escape(name) for names in MODULES.values() for name in names)
_TYPE_VARIABLE = r"xclaim\..*\.[A-Z](_co)?"
nitpick_ignore_regex = [("py:.*", rf"(?!({_PUBLIC})\.\w+$).*"), ("py:class", _TYPE_VARIABLE)]

toc_object_entries = False  # hundreds of names in the list of pages, on each page
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88

html_theme = "furo"
html_title = f"xclaim {__version__}"
html_show_sphinx = False
html_copy_source = False
html_theme_options = {"navigation_with_keys": True}
# No request leaves the page: Furo's fonts are the system's, and nothing is linked elsewhere.
