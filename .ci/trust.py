"""Composes outputs/reference/trust/README.md from the tables beside it: `uv run .ci/trust.py`.

Each of the scripts that make a table calls it when it writes; nothing in that page is written by hand.
"""

import platform
from pathlib import Path

import pandas as pd

FOLDER = Path(__file__).resolve().parents[1] / "outputs" / "reference" / "trust"
PARTS = {
    "faults.csv": ("Damaged and hostile input", "`uv run .ci/faults.py --write`. A case is right when the input is "
                   "refused by one line of ours, or, for images in a folder, left out and reported."),
    "crashes.csv": ("Killed at random moments", "`uv run .ci/crashes.py --write`; `--moments`, `--launched` and `--only` say how much. A kill ends every process of the "
                    "work; then it is started again in the same words. It is right when everything that it leaves is "
                    "bit for bit what undisturbed work leaves. `seconds` is how long the undisturbed work took on the "
                    "machine that made the table. Training, checkpoint, generate and cache are forked with their "
                    "imports done, so that the kills fall into the work itself; the others are started as people do."),
    "injections.csv": ("Numbers that are not finite", "`uv run .ci/injections.py --write`. NaN or infinity is put into "
                       "one place of a training run, in one iteration. It is right when the run stops with an error of "
                       "ours at the next line of metrics at the latest, and the checkpoint that stays is from before."),
    "dependencies.csv": ("What it stands on", "`uv run .ci/dependencies.py`, from `pyproject.toml` and the packages' "
                         "own metadata. Versions are pinned."),
}


def markdown(table):
    "A table as text; what was missed stands below it, not in it."
    shown = table.drop(columns="missed", errors="ignore")
    rows = [shown.columns, ["---"] * shown.shape[1], *shown.values]
    lines = ["| " + " | ".join(map(str, row)) + " |" for row in rows]
    names = "; ".join(table.get("missed", pd.Series(dtype=str)).dropna())
    missed = [f"- {name}" for name in names.split("; ") if name]
    return "\n".join(lines + (["", "Missed:", "", *missed] if missed else []))


def total(table):
    "How much was tried and right, in a sentence; nothing where a table does not count."
    tried, right = table.get("tried"), table.get("right")
    return "" if tried is None else f"Tried {tried.sum()}, right {right.sum()}.\n\n"


def write_readme():
    "Writes the page from the tables that are there."
    parts = []
    for name, (title, text) in PARTS.items():
        if not (FOLDER / name).is_file(): continue
        table = pd.read_csv(FOLDER / name)
        parts.append(f"## {title}\n\n{text}\n\n{total(table)}{markdown(table)}\n")
    intro = ("# Tried to break it\n\nEach table is made by the command above it, on two cores of a Linux machine, and "
             "this page from the tables by `.ci/trust.py`. Misses are listed by name.\n\n")
    (FOLDER / "README.md").write_text(intro + "\n".join(parts))


if __name__ == "__main__":
    write_readme()
