"""Write the list of all pages into CONTRIBUTING.md, from their titles and subtitles: `uv run .ci/list_pages.py`."""

import re
import sys
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parent.parent
BEGIN, END = "<!-- pages: written by .ci/list_pages.py -->", "<!-- end of pages -->"


def subtitle(page):
    "The line after a page's title."
    text = nbformat.read(page, as_version=4).cells[0].source
    found = re.search(r"^> (.+)$", text, flags=re.MULTILINE)
    return found[1].rstrip(".") if found else ""


def table():
    "A row for each page of a chapter, in reading order."
    pages = sorted((ROOT / "nbs").glob("[0-9]*/[0-9]*.ipynb"))
    names = [page.relative_to(ROOT / "nbs").with_suffix("").as_posix() for page in pages]
    rows = [f"| [`{name}`](nbs/{name}.ipynb) | {subtitle(page)} |" for name, page in zip(names, pages)]
    return "\n".join(["| page | what it is about |", "| --- | --- |", *rows])


def with_table(text):
    "CONTRIBUTING.md with the present list in its place."
    before, rest = text.split(BEGIN)
    return f"{before}{BEGIN}\n\n{table()}\n\n{END}{rest.split(END)[1]}"


def main():
    path = ROOT / "CONTRIBUTING.md"
    path.write_text(with_table(path.read_text()))


if __name__ == "__main__":
    sys.exit(main())
