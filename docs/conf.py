"""How Sphinx builds the site: `make docs`. CONTRIBUTING.md says how pages are written."""

import sys
from pathlib import Path

DOCS = Path(__file__).parent
sys.path.insert(0, str(DOCS / "_ext"))

from xclaim import __version__  # noqa: E402

project = "xclaim"
author = "The xclaim authors"
copyright = "the xclaim authors"  # noqa: A001  (the name that Sphinx wants)
version = release = __version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx_copybutton",
    "decisions",  # this and the next are our own, in _ext
    "outside",
]
exclude_patterns = ["_build"]
templates_path: list[str] = []

# Links to a heading as a repository browser makes them: operations.md#who-may-do-what.
myst_heading_anchors = 4

# Every name in a signature of ours that leads nowhere is an error; what others document is not
# looked up, for that takes the network.
nitpicky = True
nitpick_ignore_regex = [("py:.*", r"(?!xclaim).*"), ("py:class", r".*\.T(_co)?")]
# Private, though public signatures name them: nobody has to make or import one.
nitpick_ignore = [
    ("py:class", f"xclaim.{name}")
    for name in (
        "airflow.assets.LineageReports",
        "airflow.tasks.identity.Automatic",
        "message.Reader",
        "payloads.envelope.Prepared",
        "payloads.stores.references.Reference",
        "payloads.stores.references.StoredObject",
        "payloads.stores.storage.ObjectWriter",
        "sql.statements.granting.Facts",
        "sql.statements.granting.Grant",
    )
]
# A folder of pages may be empty.
suppress_warnings = ["toc.empty_glob"]

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
