"""Builds the site: `uv run --group docs .site/build.py [FOLDER]`, by default into `.site/html/`.

Sphinx reads a copy of the project's pages that lies as the project does, so that links between pages hold: the
notebooks as they were committed (nothing is executed), the front page, the guides in `guide/`, and a page for each
module. A warning is an error.
"""

import json
import re
import shutil
import sys
import tempfile
from pathlib import Path

import pandas as pd
from sphinx.cmd.build import build_main

SITE = Path(__file__).resolve().parent
ROOT = SITE.parent
CHAPTERS = ("core", "data", "model", "training", "evaluation", "augmentation", "study")
GUIDES = ("tour", "own-cells", "settings", "reproduced", "troubleshooting", "glossary", "inside")
DOCUMENTS = ("CONTRIBUTING.md", "CHANGELOG.md", "data/README.md", "outputs/README.md")
LINKED = ("LICENSE", "environment.yml")  # files that pages lead to
LINK = re.compile(r"(?P<before>\]\()(?P<target>[^)\s#]+)(?P<anchor>#[^)\s]*)?\)")


def contents(pages, *options):
    "A table of contents."
    return "\n".join(["", "```{toctree}", ":maxdepth: 1", *options, "", *pages, "```", ""])


def side(caption, pages):
    "A table of contents that the theme shows at the side."
    return contents(pages, ":hidden:", f":caption: {caption}")


def followed(text, folder):
    """Markdown with each link to a folder leading to the page in it, and each link to a file that is no page to the
    file itself."""

    def follow(match):
        target, anchor = match["target"], match["anchor"] or ""
        if re.match(r"[a-z]+:|/", target):
            return match[0]
        path = (folder / target).resolve()
        if path.is_dir():
            readme = (path / "README.md").exists()
            target = target.rstrip("/") + "/README.md" if readme else target
        return f"{match['before']}{target}{anchor})"

    return LINK.sub(follow, text)


def scores(study):
    "FD-cell and agreement of each model of a kept study, as a table in markdown."
    table = pd.read_csv(ROOT / "outputs" / "reference" / study / "table.csv").set_index(["model", "score"])
    lines = ["| model | FD-cell: mean (95% interval) | agreement: mean (95% interval) |", "| --- | --- | --- |"]
    for model in dict.fromkeys(name for name, _ in table.index):
        distance, agreement = (table.loc[model, f"{score} mean"] for score in ("FD-cell", "agreement"))
        lines.append(
            f"| {model} | {distance['mean']:.1f} ({distance.low:.1f} to {distance.high:.1f}) "
            f"| {agreement['mean']:.0%} ({agreement.low:.0%} to {agreement.high:.0%}) |"
        )
    return "\n".join(lines)


def copy_guides(source):
    """The guides, with each `<!-- scores STUDY -->` filled from that study's kept table. On the site they lie one
    folder nearer to the project's other pages."""
    (source / "guide").mkdir()
    for name in GUIDES:
        page = (SITE / "guide" / f"{name}.md").read_text()
        filled = re.sub(r"<!-- scores (\S+) -->", lambda match: scores(match[1]), page)
        (source / "guide" / f"{name}.md").write_text(filled.replace("](../../", "](../"))


def copy_page(path, source):
    "Markdown, with its links followed."
    target = source / path.relative_to(ROOT)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(followed(path.read_text(), path.parent))


def copy_notebook(path, source):
    "A notebook without the lines that only nbdev reads."
    notebook = json.loads(path.read_text())
    shown = []
    for cell in notebook["cells"]:
        text = "".join(cell["source"])
        if cell["cell_type"] == "raw" or re.search(r"^#\|\s*(hide|default_exp)\b", text, re.MULTILINE):
            continue
        if cell["cell_type"] == "markdown":
            text = followed(text, path.parent)
        else:
            text = re.sub(r"^#\|.*\n?", "", text, flags=re.MULTILINE)
        shown.append(cell | {"source": text})
    target = source / path.relative_to(ROOT)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(notebook | {"cells": shown}))


def write_modules(source):
    "A page for each module, and one that lists a chapter's."
    (source / "api").mkdir()
    for chapter in CHAPTERS:
        modules = sorted(path.stem for path in (ROOT / "cellgan" / chapter).glob("*.py") if path.stem[0] != "_")
        for module in modules:
            name = f"cellgan.{chapter}.{module}"
            page = f"# {chapter}.{module}\n\n```{{eval-rst}}\n.. automodule:: {name}\n   :members:\n```\n"
            (source / "api" / f"{chapter}.{module}.md").write_text(page)
        listed = contents([f"{chapter}.{module}" for module in modules])
        (source / "api" / f"{chapter}.md").write_text(f"# cellgan.{chapter}\n{listed}")


def named(paths):
    "Pages as Sphinx names them."
    return [str(path.relative_to(ROOT).with_suffix("")) for path in paths]


def copy_files(source):
    "What pages show or lead to, besides pages."
    shutil.copytree(ROOT / "nbs" / "images", source / "nbs" / "images")
    shutil.copytree(
        ROOT / "outputs" / "reference", source / "outputs" / "reference", ignore=shutil.ignore_patterns("*.md")
    )
    for name in LINKED:
        shutil.copy(ROOT / name, source / name)


def lay_out(source):
    "Everything that Sphinx reads, below `source`."
    copy_files(source)
    found = sorted(path for path in (ROOT / "nbs").rglob("*.ipynb") if ".ipynb_checkpoints" not in path.parts)
    notebooks = [path for path in found if path.stem != "index" and path.name[0] != "_"]
    documents = [*(ROOT / name for name in DOCUMENTS), *sorted((ROOT / "outputs" / "reference").rglob("*.md"))]
    for path in notebooks:
        copy_notebook(path, source)
    for path in documents:
        copy_page(path, source)
    copy_guides(source)
    write_modules(source)
    pages = side("Guide", [f"guide/{name}" for name in GUIDES])
    pages += side("What you run", named(path for path in notebooks if path.parent == ROOT / "nbs"))
    for folder in sorted({path.parent for path in notebooks} - {ROOT / "nbs"}):
        chapter = folder.name.replace("_", " ")
        pages += side(chapter, named(path for path in notebooks if path.parent == folder))
    pages += side("Modules", [f"api/{chapter}" for chapter in CHAPTERS])
    pages += side("The project", named(documents))
    front = (ROOT / "README.md").read_text().replace("](.site/guide/", "](guide/")
    (source / "index.md").write_text(followed(front, ROOT) + pages)


def build(
    folder: Path,  # where the site is written
) -> int:  # 0 if there was no warning
    "The site, whole and searchable without a server."
    with tempfile.TemporaryDirectory() as work:
        source, built = Path(work, "source"), Path(work, "html")
        source.mkdir()
        lay_out(source)
        failed = build_main(["-q", "-W", "--keep-going", "-b", "html", "-c", str(SITE), str(source), str(built)])
        # myst-nb leaves files of its own beside the site, so only the site itself is handed over.
        shutil.copytree(built, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns(".doctrees", ".buildinfo*"))
    return failed


if __name__ == "__main__":
    sys.exit(build(Path(sys.argv[1]) if len(sys.argv) > 1 else SITE / "html"))
