"""How Sphinx builds the documentation: `make docs`."""

from __future__ import annotations

import sys
from pathlib import Path

from secateur.core.version import __version__

sys.path.insert(0, str(Path(__file__).parent))  # for the extension beside this file

project = "secateur"
copyright = "the authors of secateur, Apache-2.0"
version = release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx_click", "mathml", "reference_pages"]
myst_enable_extensions = ["dollarmath", "amsmath"]
myst_heading_anchors = 3
exclude_patterns = ["serving"]
nitpicky = False
autodoc_typehints = "signature"
autodoc_member_order = "bysource"

html_math_renderer = "mathml"
html_theme = "furo"
html_title = f"secateur {__version__}"
html_show_sourcelink = False
