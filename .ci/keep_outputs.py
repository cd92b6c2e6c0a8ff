"""Puts the outputs of an executed notebook into the committed one: `uv run .ci/keep_outputs.py EXECUTED COMMITTED`.

For workflow notebooks, whose pages show what a run with their defaults gives, such as
`uv run .ci/keep_outputs.py outputs/demo/train.ipynb nbs/train.ipynb`. Cells are found by their source. What papermill
adds, a cell of its own and times, stays out, and so does what goes to standard error.
"""

import sys
from pathlib import Path

import nbformat


def main(executed, committed):
    "Returns how many cells have outputs now."
    found = {cell.source: cell.outputs for cell in nbformat.read(executed, 4).cells if cell.cell_type == "code"}
    page = nbformat.read(committed, 4)
    for cell in page.cells:
        if cell.cell_type != "code" or not found.get(cell.source):
            continue
        cell.outputs = [output for output in found[cell.source] if output.get("name") != "stderr"]
    Path(committed).write_text(nbformat.writes(page) + "\n", encoding="utf-8")
    return sum(bool(cell.get("outputs")) for cell in page.cells)


if __name__ == "__main__":
    print(main(*sys.argv[1:]), "cells with outputs: run nbdev_clean, and look at the page")
