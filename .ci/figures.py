"""Numbers that are quoted in prose, checked against the file that they come from.

A page or README that quotes a result says below the paragraph where each figure is found:

    ... is recognised as often as 81% (79 to 82).
    <!-- figures
    81% (79 to 82) = percent("ablation/table.csv", "mean low high", model="+ SLE", score="agreement mean")
    assert number("ablation/table.csv", "mean", model="none", ...) < number(...)
    -->

The text on the left must stand in the prose above, and the expression on the right must give it; an `assert` is a
comparison in words. `python .ci/figures.py` lists what is wrong, `python .ci/figures.py --write` puts the files'
numbers into the prose.
"""

import json
import re
import sys
from functools import lru_cache
from pathlib import Path

import pandas as pd

ROOT = Path(__file__).resolve().parent.parent
REFERENCE = ROOT / "outputs" / "reference"
BLOCK = re.compile(r"<!-- figures\n(.*?)-->", re.DOTALL)


@lru_cache
def table(path):
    "A committed csv file below outputs/reference."
    return pd.read_csv(REFERENCE / path)


def rows(path, **where):
    "The rows of a table in which these columns have these values."
    found = table(path)
    for name, value in where.items():
        found = found[found[name] == value]
    if found.empty:
        raise ValueError(f"{path} has no row with {where}")
    return found


def number(path, column, **where):
    "The one number of a table in this row and column."
    found = rows(path, **where)[column]
    if len(found) != 1:
        raise ValueError(f"{path} has {len(found)} rows with {where}")
    return float(found.iloc[0])


def quoted(path, columns, pattern, scale, **where):
    values = [scale * number(path, column, **where) for column in columns.split()]
    texts = [pattern.format(value) for value in values]
    return texts[0] if len(texts) == 1 else f"{texts[0]} ({texts[1]} to {texts[2]})"


def percent(path, columns, **where):
    "A share in per cent; with three columns the last two are the ends of its interval."
    text = quoted(path, columns, "{:.0f}", 100, **where)
    return re.sub(r"^-?\d+", lambda match: match[0] + "%", text)


def points(path, columns, **where):
    "A difference in percentage points."
    return quoted(path, columns, "{:.0f}", 100, **where)


def decimal(path, columns, digits=1, **where):
    "A number with so many digits after the point."
    return quoted(path, columns, f"{{:.{digits}f}}", 1, **where)


def spread_of(path, column, digits, **where):
    "Mean, lowest and highest of a column over the rows with these values."
    found = rows(path, **where)[column]
    return f"{found.mean():.{digits}f} ({found.min():.{digits}f} to {found.max():.{digits}f})"


@lru_cache
def measured(path, metric, name, field="value"):
    "One number of a kept evaluation: a metric of a class, its `value`, `low`, `high`, `floor` or `n`."
    return float(json.loads((REFERENCE / path).read_text())["metrics"][metric][name][field])


@lru_cache
def audited(path, field):
    "One number of the copies audit of a kept evaluation: `copies` or `of`."
    return int(json.loads((REFERENCE / path).read_text())["audit"][field])


@lru_cache
def trained(path, field):
    "The last value of a field of a kept `metrics.jsonl`, such as `kimg` or `seconds`."
    return float(json.loads((REFERENCE / path).read_text().splitlines()[-1])[field])


def percent_of(path, column, **where):
    "Mean, lowest and highest of a column of shares, in per cent."
    shares = 100 * rows(path, **where)[column]
    return f"{shares.mean():.0f}% ({shares.min():.0f} to {shares.max():.0f})"


NAMES = dict(
    percent_of=percent_of,
    measured=measured,
    audited=audited,
    trained=trained,
    spread_of=spread_of,
    table=table,
    rows=rows,
    number=number,
    percent=percent,
    points=points,
    decimal=decimal,
)


def check_text(text, write=False):
    "The text with the files' numbers, and what was wrong in it."
    problems = []
    for block in BLOCK.findall(text):
        prose = " ".join(BLOCK.sub("", text).split())
        for line in filter(None, map(str.strip, block.splitlines())):
            if line.startswith("assert "):
                if not eval(line.removeprefix("assert "), dict(NAMES)):
                    problems.append(f"no longer true: {line}")
                continue
            given, _, expression = line.partition(" = ")
            right = str(eval(expression, dict(NAMES)))
            if " ".join(given.split()) not in prose:
                problems.append(f"{given!r} is not in the prose (the file says {right!r})")
            if given != right:
                problems.append(f"{given!r} should be {right!r}: {expression}")
                if write:
                    text = text.replace(given, right)
    return text, problems


def texts():
    "(where, text) of every README of kept results, and every page's prose."
    for path in [ROOT / "README.md", *sorted(REFERENCE.rglob("README.md"))]:
        yield str(path.relative_to(ROOT)), path.read_text()
    for page in sorted((ROOT / "nbs").rglob("*.ipynb")):
        for cell in json.loads(page.read_text())["cells"]:
            if cell["cell_type"] == "markdown":
                yield str(page.relative_to(ROOT)), "".join(cell["source"])


def quoted_figures_are_those_of_their_files():
    "Why not, one line for each figure that differs from its file."
    return "\n".join(f"{where}: {problem}" for where, text in texts() for problem in check_text(text)[1])


def every_kept_result_is_on_the_results_page():
    "The folders of kept results to whose README the prose of `nbs/results.ipynb` has no link."
    page = "".join(text for where, text in texts() if where == "nbs/results.ipynb")
    folders = [path.parent.name for path in sorted(REFERENCE.glob("*/README.md"))]
    return "\n".join(f"nbs/results.ipynb has no link to {name}" for name in folders if f"/{name}/README.md" not in page)


def write():
    "Puts the files' numbers into the READMEs of kept results."
    for path in sorted(REFERENCE.rglob("README.md")):
        path.write_text(check_text(path.read_text(), write=True)[0])


if __name__ == "__main__":
    if "--write" in sys.argv:
        write()
    print(quoted_figures_are_those_of_their_files() or "every quoted figure is that of its file")
    print(every_kept_result_is_on_the_results_page() or "every kept result is on the results page")
