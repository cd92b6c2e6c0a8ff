"""Composes outputs/reference/trust/README.md from the tables beside it: `uv run .ci/trust.py`.

Each of the scripts that make a table calls it when it writes; nothing in that page is written by hand.
"""

from pathlib import Path

import pandas as pd

FOLDER = Path(__file__).resolve().parents[1] / "outputs" / "reference" / "trust"
PARTS = {
    "faults.csv": (
        "Damaged and hostile input",
        "`uv run .ci/faults.py --write`, and for CRIC's own images and table "
        "`uv run .ci/faults.py --data data/cric --write`. A case is right when the input is refused by one "
        "line of ours, or, for images and rows, left out and reported, each cell of it. A WebP has no "
        "checksum: where flipped bits leave one readable, its cells are read, and that is counted as right.",
    ),
    "crashes.csv": (
        "Killed at random moments",
        "`uv run .ci/crashes.py --write`; `--moments`, `--launched` and "
        "`--only` say how much, and `--data data/cric` adds real cells, of twelve of CRIC's fields. A kill "
        "ends every process of the work; then it is started again in the same words. It is right when "
        "everything that it leaves is bit for bit what undisturbed work leaves. `seconds` is how long the "
        "undisturbed work took on the machine that made the table. Training, checkpoint, generate and "
        "cache are forked with their imports done, so that the kills fall into the work itself; the others "
        "are started as people do. Of *launcher of two*, training in two processes, papermill or its "
        "kernel alone is killed, and the rest has to end by itself within two minutes. Of the one study that "
        "differed, the table does not say in what; what could be made to happen again is a part of a file, "
        "left by a process that was killed at its very end. Such parts go now, and of 20 studies killed "
        "since then, with `--only study --launched 20`, none differed.",
    ),
    "disks.csv": (
        "Disks that fill up, or become read-only",
        "`uv run .ci/disks.py --write`; `--disks`, `--typed` and `--only` say how much. The folders that a project "
        "writes to lie on a file system in memory, which has a random part of the room that the work needs, or is "
        "made read-only at a random moment. `stopped` is how often that stopped the work; it is right when the work "
        "says so in one line of ours, has harmed nothing that was there, leaves no part of a file where it can remove "
        "one, and gives bit for bit its usual results when it is started again on a disk that is well. Work that ends "
        "well all the same has to have its usual results. The first kinds are forked with their imports done, "
        "workflows are started as people do.",
    ),
    "injections.csv": (
        "Numbers that are not finite",
        "`uv run .ci/injections.py --write`. NaN or infinity is put into "
        "one place of a training run, in one iteration. It is right when the run stops with an error of "
        "ours at the next line of metrics at the latest, and the checkpoint that stays is from before.",
    ),
    "refusals.csv": (
        "What must be refused",
        "`uv run .ci/refusals.py --write`. Every parameter of every workflow gets "
        "values of another type, outside of both ends of its rule, infinite, not a number, too long, and "
        "names that are nearly right. It is right when the workflow stops within 6 seconds of a "
        "processor's time, with one line that names the parameter or the path that was given, and nothing "
        "on disk has changed. Every case runs the notebook's cells in a forked process that has its "
        "imports done; for each cell that refuses, the first case is also started as a user types it, "
        "with papermill: `typed` says how many, `slowest` is the longest of these in seconds, and "
        "`processor` how many of them a processor was at work on it; the machine had other programs to "
        "run beside it. Types and rules are looked at before a kernel is started, and what a "
        "generator knows is read from the beginning of its file, without torch.",
    ),
    "reproducible.csv": (
        "The same bits",
        "`uv run .ci/reproducible.py --write`. The same work with the same seed, in "
        "processes of their own: training by the demo's settings at 32x32, the kept generator's "
        "cells, folds, a judge, and a study of two runs. In a fresh process the bits must be the same. With "
        "another number of processes or threads, or with the instructions of an older processor, sums "
        "are added in another order, so they need not be: the largest difference is what that came "
        "to, in weights as they are, and in pixels from 0 to 255.",
    ),
    "load.csv": (
        "Large amounts",
        "`uv run .ci/load.py --write`. A folder of small files may take 1 GiB beside the "
        "patches, and writing less than 1 KiB more for each image; a set that was killed half way is asked "
        "for again in the same words, and has to go on with what was there. Memory is the process's resident "
        "memory, seen from outside. `reached` is what there was when the time was over; nothing is "
        "extrapolated.",
    ),
    "dependencies.csv": (
        "What it stands on",
        "`uv run .ci/dependencies.py`, from `pyproject.toml` and the packages' own metadata. Versions are pinned.",
    ),
    "vulnerabilities.csv": (
        "Known vulnerabilities",
        "`uv run .ci/dependencies.py --vulnerabilities`: the tool safety 1.10.3 looks up every "
        "installed package, of all groups, in the database of safety-db 2021.7.17, the newest that comes as a package "
        "itself and so needs no network. `listed` is how many of the packages that database knows, `advisories` how "
        "many it has for them, and `found` how many of these are about the version that is installed. It has to find "
        "those of an old Pillow, which shows that it looks. What was published after the database's date is not in it, "
        "and a package that it does not list may have been vulnerable, too: nothing found means that no flaw known by "
        "then is in these versions, and no more. Two newer tools ask a server for each package and cannot do without: "
        "`pip-audit` 2.10.1 passed over what it could not look up and still ended with *No known vulnerabilities "
        "found*, `uv audit` ended with an error. With a network, `uv audit` is the one to run.",
    ),
}


def by_notebook(table):
    "The table of refusals has a line for each case; the page has one for each notebook."
    typed = table[table.started == "typed"]
    slowest = typed.loc[typed.groupby("notebook").seconds.idxmax()].set_index("notebook")
    problem = table.notebook + " " + table.parameter + " " + table.value + ", " + table.started + ": " + table.problem
    rows = table.assign(right=table.problem.isna(), missed=problem).groupby("notebook", sort=False)
    return pd.DataFrame(
        dict(
            tried=rows.size(),
            right=rows.right.sum(),
            typed=typed.groupby("notebook").size(),
            slowest=slowest.seconds,
            processor=slowest.processor,
            missed=rows.missed.agg(lambda texts: "; ".join(texts.dropna())),
        )
    ).reset_index()


SHORTER = {"refusals.csv": by_notebook}


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
        if not (FOLDER / name).is_file():
            continue
        table = SHORTER.get(name, pd.DataFrame)(pd.read_csv(FOLDER / name))
        parts.append(f"## {title}\n\n{text}\n\n{total(table)}{markdown(table)}\n")
    intro = (
        "# Tried to break it\n\nEach table is made by the command above it, on two cores of a Linux machine, and "
        "this page from the tables by `.ci/trust.py`. Misses are listed by name.\n\n"
    )
    (FOLDER / "README.md").write_text(intro + "\n".join(parts))


def keep(table, name, key=None):
    "Writes a table, and the page; with a column as key, rows with other values of it stay, above the new ones."
    path = FOLDER / name
    if key and path.is_file():
        kept = pd.read_csv(path)
        table = pd.concat([kept[~kept[key].isin(table[key])], table])
    table.to_csv(path, index=False)
    write_readme()


if __name__ == "__main__":
    write_readme()
