"""Render nbs/index.ipynb as README.md: `uv run .ci/render_readme.py`.

The front page shows what its code made, not the code: of a code cell only the outputs are kept, and pictures
among them go to nbs/images/. Nothing is executed, so the same notebook always gives the same page.
"""

import posixpath
import re
import sys
from pathlib import Path

import nbformat
from nbconvert import MarkdownExporter
from traitlets.config import Config

ROOT = Path(__file__).resolve().parent.parent
NOTE = "<!-- Rendered from nbs/index.ipynb by .ci/render_readme.py: edit the notebook. -->\n\n"
# The target of a markdown link or picture, and of the few HTML attributes that hold one.
LINK = re.compile(r'(?P<before>\]\(|(?:src|href|srcset)=")(?P<target>[^)"\s]+)')


def relink(
    text: str,  # markdown with links relative to nbs/
) -> str:
    "The same with links relative to the project's root; whole addresses and anchors stay."

    def at_root(match):
        target = match["target"]
        if re.match(r"[a-z]+:|#|/", target):
            return match[0]
        return match["before"] + posixpath.normpath(posixpath.join("nbs", target))

    return LINK.sub(at_root, text)


def render(
    notebook: Path,  # the front page's notebook, in nbs/
) -> dict[Path, bytes]:  # each file to write, with its content
    "README.md and the pictures that the outputs of `notebook` hold."
    exporter = MarkdownExporter(
        config=Config(
            NbConvertBase={
                "display_data_priority": ["text/markdown", "image/svg+xml", "image/png", "text/html", "text/plain"]
            }
        )
    )
    exporter.exclude_input = True
    resources = {"unique_key": notebook.stem, "output_files_dir": "images"}
    page, resources = exporter.from_notebook_node(nbformat.read(notebook, as_version=4), resources)
    # GitHub drops the tags of a table's style sheet and shows its text.
    page = re.sub(r"<style.*?</style>\n?", "", page, flags=re.DOTALL)
    page = re.sub(r"[ \t]+\n", "\n", re.sub(r"\n{3,}", "\n\n", page)).strip() + "\n"
    pictures = {notebook.parent / name: content for name, content in resources["outputs"].items()}
    return {ROOT / "README.md": (NOTE + relink(page)).encode()} | pictures


def main():
    for path, content in render(ROOT / "nbs" / "index.ipynb").items():
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        print(path.relative_to(ROOT))


if __name__ == "__main__":
    sys.exit(main())
