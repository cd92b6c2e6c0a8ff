"""Sphinx's settings for the site; `build.py` beside this file builds it."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import cellgan

project = "CellGAN, the workbook"
author = "The CellGAN workbook's contributors"
release = version = cellgan.__version__
copyright = author

extensions = ["myst_nb", "sphinx.ext.autodoc", "docments"]
html_theme = "furo"
html_title = project
html_show_copyright = False
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {"navigation_with_keys": True}
html_static_path = ["static"]
html_css_files = ["site.css"]

# Notebooks are shown as they were committed, outputs included.
nb_execution_mode = "off"
nb_merge_streams = True
myst_enable_extensions = ["dollarmath", "deflist", "colon_fence"]
myst_heading_anchors = 4

# A name in single backticks in a docstring is a link where there is something to link to.
default_role = "py:obj"
autodoc_member_order = "bysource"
autodoc_typehints = "none"
autodoc_inherit_docstrings = False
autodoc_preserve_defaults = True
autoclass_content = "class"
python_use_unqualified_type_names = True
# Notebooks begin a page with `# Title` and may go on with `###`, which is no error.
suppress_warnings = ["myst.header", "mystnb.unknown_mime_type"]
