"""Every command of the front page, the site and the notebooks: `.ci/commands.py` checks that each could be typed,
`.ci/commands.py --run [PAGE ...]` types those of all pages, or of some, shortened, and writes what became of each and
how long it took to outputs/reference/commands/table.csv, where the other pages' rows stay.

A command is a line of a fenced block or a piece of code in a sentence. What is a part of a command (`-p sgc False`) is
completed to a run of the notebook that it is for. Checked are programs, files, notebooks, and every parameter's name,
type and rule. Typed are papermill, cellgan, torchrun and accelerate, in a clone, by the programs of
this environment; each short form once. What sets up an environment, and what takes a trained network or hours, is
checked alone.
"""

import ast
import csv
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from dataclasses import fields
from pathlib import Path

import yaml
from papermill.cli import _resolve_type as typed_by_papermill

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "nbs" / "8_tests"))

from cellgan.core.commands import parameters_in_notebook, values_of
from cellgan.core.config import Config, InputError
from cellgan.core.parameters import check_parameters
from cellgan.study.commands import COMMANDS, parameters_of
from warm import WarmServer

PROGRAMS = ("uv run ", "uv pip ", "papermill ", "cellgan ", "python ", "conda ", "pip ", "jupyter ", "nbdev_", "git ",
            "bash ", "torchrun ", "accelerate ", "-p ")
# Not to be typed: an ellipsis, or a name that stands for a program as a whole.
NAMES_ALONE = re.compile(r"uv run( \.\.\.)?|nbdev_merge|(-p )?NAME VALUE|.*\bOUTPUT\.ipynb .*|cellgan train"
                         r"|cellgan \w+=\S+|accelerate launch")
CELLS = ("/home/me/my_cells", "~/my_cells", "~/my-cells", "data/my_cells", "data/cric", "FOLDER", "PATH", "my_cells")
PLACEHOLDERS = {**dict.fromkeys(CELLS, "my_cells"), "NAME": "named", "INCEPTION_FILE": None, "FILE": None}
# Readings of a data set of one's own: they are about its layout, which the pages of chapter 2 test.
READINGS = ("sipakmed#cropped", "mine#train", "normal, mild, severe")
WRONG = {"-p sgc false": "sgc is 'false'"}  # shown as mistakes -> what is said
WORKFLOWS = ("train", "generate", "evaluate", "ablation", "compare", "augmentation", "bench")
# What makes a command short, where the page itself does not set it: for a program or a notebook.
TINY = dict(image_size=32, width=2, iterations=4, batch_size=4, phantom_patches=200, compile=False, precision="float32")
SHORTENED = {
    "train": TINY, "torchrun": TINY | dict(device="cpu"), "accelerate": TINY | dict(device="cpu"),
    "generate": dict(per_class=2), "evaluate": dict(per_class=6, patches=300),
    "bench": dict(image_size=64, width=1, batch_size=2, steps=1, compiled=False, scaling=False),
    **dict.fromkeys(("ablation", "compare", "augmentation"), dict(dry_run=True)),
}
LONGEST = 900  # seconds of one command
ALWAYS = ("iterations", "image_size", "compile", "per_class")  # also where the page sets it
CHECKED_ALONE = {  # beginning -> why it is not typed
    "conda": "sets up an environment", "pip ": "sets up an environment", "uv pip": "sets up an environment",
    "jupyter": "opened by .ci/browser.py", "voila": "opened by .ci/browser.py",
    "nbdev_": "typed by .ci/run", "bash .ci/run": "typed by .ci/run", ".ci/render_readme.py": "typed by .ci/checks.py",
    "git": "would change the clone", "python outputs/": "takes what the page's other commands made in hours",
    ".ci/": "takes minutes, and writes its own table", ".site/build.py": "typed by .ci/checks.py",
    "cellgan import-qupath": "tested in 2_data/22_qupath",
}


def pages():
    "The front page, guides, documents and notebooks."
    documents = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "data/README.md", "outputs/README.md")]
    references = sorted((ROOT / "outputs" / "reference").rglob("*.md"))
    notebooks = [path for path in sorted((ROOT / "nbs").rglob("*.ipynb")) if ".ipynb_checkpoints" not in path.parts]
    guides = sorted((ROOT / ".site" / "guide").glob("*.md"))
    return [*documents, *guides, *references, *(path for path in notebooks if path.stem != "index")]


def prose(path):
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".ipynb":
        return text
    return "\n\n".join("".join(cell["source"]) for cell in json.loads(text)["cells"] if cell["cell_type"] == "markdown")


def commands_in(text):
    "The commands of a page in their order, `&&` divided, each once."
    found, pattern = [], r"^```(?P<language>\w*)\n(?P<block>.*?)^```|`(?P<inline>[^`\n]+)`"
    for match in re.finditer(pattern, text, re.MULTILINE | re.DOTALL):
        if match["language"] in ("", "bash", "sh", None):
            found += (match["block"] or match["inline"]).splitlines()
    parts = [part.strip() for line in found for part in line.split(" && ")]
    return list(dict.fromkeys(part for part in parts if part.startswith(PROGRAMS) and not NAMES_ALONE.fullmatch(part)))


def words_of(command):
    "The command's words, without `uv run` and its options, and whether uv runs it."
    words = shlex.split(command)
    if words[:2] != ["uv", "run"]:
        return words
    words = words[2:]
    if words[0] == "--group":
        assert words[1] in project()["dependency-groups"], f"pyproject.toml has no group {words[1]}"
        words = words[2:]
    return words[2:] if words[0] == "--with" else words


def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def parameters_given(words):
    "Parameter -> value, as papermill reads them from `-p NAME VALUE`, or cellgan from `--NAME VALUE`."
    given, rest = {}, list(words)
    while rest:
        word = rest.pop(0)
        if word == "-p":
            name, value = rest.pop(0), rest.pop(0)
            given[name] = typed_by_papermill(value)
    return {name: value for name, value in given.items() if not is_placeholder(name)}


def is_placeholder(value):
    in_capitals = re.fullmatch(r"[A-Z_]{3,}", str(value)) is not None
    return value in PLACEHOLDERS or in_capitals and value not in ("NILM", "LSIL", "HSIL")


def types_of(notebook):
    "Parameter -> type, and those that may be None."
    if notebook == "train":
        types = {field.name: field.type for field in fields(Config)}
        return types, set(types)
    parameters = parameters_in_notebook(notebook)
    return {p.name: p.type for p in parameters}, {p.name for p in parameters if p.default is None}


def notebook_for(command, page):
    "The notebook that a part of a command is for: the page's own, the last one above it, or the first that it fits."
    own = [page.stem] if page.stem in WORKFLOWS else []
    found = commands_in(prose(page))
    above = [Path(words_of(text)[1]).stem for text in found[:found.index(command)] if "papermill nbs/" in text]
    given = set(parameters_given(shlex.split(command)))
    return next((name for name in (*own, *above[::-1], *WORKFLOWS) if given <= set(types_of(name)[0])), None)


def completed(command, page):
    "A command that could be typed: a part of one becomes a run of its notebook."
    if not command.startswith("-p "):
        return command
    notebook = notebook_for(command, page)
    assert notebook, f"no notebook has these parameters: {command}"
    of_own_data = {"field_of_view_um", "um_per_px"} & set(parameters_given(shlex.split(command)))
    data = " -p data FOLDER -p um_per_px 0.5" if of_own_data else ""
    return f"papermill nbs/{notebook}.ipynb outputs/part/{notebook}.ipynb -p run part{data} {command}"


def check_papermill(words):
    if words[1] == "--help-notebook":
        words = [words[0], words[2], "outputs/help.ipynb"]
    notebook, output = Path(words[1]), Path(words[2])
    assert (ROOT / notebook).is_file(), f"there is no {notebook}"
    assert output.parts[0] == "outputs", f"{output} is not below outputs/"
    given, (types, optional) = parameters_given(words[3:]), types_of(notebook.stem)
    real = {name: value for name, value in given.items() if not is_placeholder(value)}
    any_value = {name: "x" if types.get(name) is str else types[name]() for name in set(given) - set(real)}
    check_parameters(any_value | real, types, optional, notebook.name)


def check_environment(words):
    "What installs something: the file or the extras that it names are there."
    extras = project()["project"]["optional-dependencies"]
    for word in words:
        for extra in re.findall(r"\[([a-z,]+)\]", word):
            assert set(extra.split(",")) <= set(extras), f"pyproject.toml has no extra {extra}"
    if words[:3] == ["conda", "env", "create"]:
        assert (ROOT / "environment.yml").is_file(), "there is no environment.yml"
    if words[:2] == ["conda", "activate"]:
        name = yaml.safe_load((ROOT / "environment.yml").read_text())["name"]
        assert words[2] == name, f"the environment is called {name}"


def check_files(words):
    "Files of the project that a command names."
    for word in words:
        if re.match(r"(nbs|\.ci|\.site|outputs/reference)/\S*\.(ipynb|py)$|\.ci/run$", word):
            assert (ROOT / word).is_file(), f"there is no {word}"
        if word.startswith("outputs/reference/") and word.endswith(".py"):
            ast.parse((ROOT / word).read_text(encoding="utf-8"))


def check_training(words):
    "What comes after `-m cellgan.training.processes`."
    arguments = words[words.index("cellgan.training.processes") + 1:]
    assert not [word for word in arguments if word.startswith("-")], "torchrun takes --NAME for its own: use NAME=VALUE"
    values_of(arguments, parameters_of("train"), "training.processes")


def check(command, page):
    "Raises `AssertionError` or `InputError` for a command that could not be typed."
    words = words_of(completed(command, page))
    check_files(words)
    program = words[0]
    if program == "papermill":
        try:
            check_papermill(words)
        except InputError as error:
            assert WRONG.get(command, "-") in str(error), str(error)
        else:
            assert command not in WRONG, "this is shown as a mistake, and is none"
    elif program == "cellgan" and "--help" not in words:
        values_of([word for word in words[2:]], parameters_of(words[1]), command)
    elif program in ("torchrun", "accelerate"):
        check_training(words)
    elif program in ("conda", "pip", "uv"):
        check_environment(words)
    elif program.startswith("nbdev_") or program in ("jupyter", "torchrun"):
        assert Path(sys.executable).with_name(program).is_file(), f"this environment has no {program}"
    if program == "cellgan":
        assert words[1] in COMMANDS, f"cellgan has no {words[1]}"


def every_command_could_be_typed():
    "For `.ci/checks.py`: what is wrong, a line each."
    problems = []
    for page in pages():
        for command in commands_in(prose(page)):
            try:
                check(command, page)
            except (AssertionError, InputError, ValueError, IndexError) as error:
                problems.append(f"{page.relative_to(ROOT)}: `{command}`: {error}")
    return "\n".join(problems)


def why_not_typed(command, words):
    plain = " ".join(words)
    if any(value in plain for value in READINGS):
        return "needs a data set of that layout; tested in chapter 2"
    needs_weights = r"INCEPTION_FILE|-p weights FILE|-p extractor (inception|dinov2)"
    if re.search(needs_weights, command):
        return "needs a file of weights"
    if "slurm" in words and not shutil.which("sbatch"):
        return "needs Slurm"
    return next((why for start, why in CHECKED_ALONE.items() if plain.startswith(start)), "")


def kind_of(words):
    "What `SHORTENED` says about a command."
    if words[0] == "papermill":
        return Path(words[1]).stem
    return words[1] if words[0] == "cellgan" else words[0]


def shortened(words, folder):
    "Words with the placeholders replaced and made short: (words, what was added)."
    def real(word): return str(folder / word) if word == "my_cells" else word
    def put(word):  # the value of NAME=VALUE, or the word
        name, equals, value = word.rpartition("=")
        return name + equals + real(PLACEHOLDERS.get(value) or value)
    words = [put(word) for word in words]
    if "--help" in words or "--help-notebook" in words:
        return words, ""
    kind = kind_of(words)
    named = {word.removeprefix("--").partition("=")[0] for word in words}
    kept = named | {"image_size", "width"} if "start_from" in named else named  # whose weights have a size
    added = {name: value for name, value in SHORTENED.get(kind, {}).items()
             if name not in kept or name in ALWAYS and name in named}
    forms = {"papermill": "-p {} {}", "cellgan": "--{} {}"}
    more = [part for item in added.items() for part in forms.get(words[0], "{}={}").format(*item).split()]
    return [*words, *more], " ".join(f"{name}={value}" for name, value in added.items())


def write_cells(folder):
    "A folder of labelled patches with groups."
    from PIL import Image

    from cellgan.data.patches import load_patches
    patches = load_patches("phantom", 64, 300, cache=False, progress=False)
    lines = ["path,group"]
    each = zip(patches.images, patches.labels.tolist(), patches.groups.tolist())
    for number, (image, label, group) in enumerate(each):
        path = Path(patches.classes[label], f"{number:04d}.png")
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(folder / path)
        lines.append(f"{path.as_posix()},{patches.group_names[group]}")
    (folder / "groups.csv").write_text("\n".join(lines) + "\n")


def environment_of(clone):
    "Variables of every command."
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return os.environ | dict(PATH=path, PYTHONPATH=str(clone), OMP_NUM_THREADS="1", MKL_NUM_THREADS="1")


def type_command(words, clone, server):
    "Types a command in the clone, papermill in a process with its imports done; returns what went wrong, or nothing."
    if words[0] == "papermill":
        arguments = [*words[1:], "--execution-timeout", LONGEST]
        status, printed = server.run("papermill", arguments, clone, {})
        return "" if status == 0 else last_words(printed)
    starts = {"cellgan": [sys.executable, "-c", "from cellgan.study.commands import main; main()"],
              "torchrun": [sys.executable, "-m", "torch.distributed.run"]}
    command, environment = [*starts.get(words[0], words[:1]), *words[1:]], environment_of(clone)
    try:
        done = subprocess.run(command, cwd=clone, env=environment, capture_output=True, text=True, timeout=LONGEST)
    except subprocess.TimeoutExpired:
        return f"was not finished after {LONGEST} s"
    return "" if done.returncode == 0 else last_words(done.stderr or done.stdout)


def last_words(printed):
    "The last line that names an error, or the last at all."
    found = printed.strip().splitlines()
    return next((line for line in found[::-1] if "Error: " in line), found[-1])[:200]


def put_run(words, clone, trained):
    "A trained run where a command asks for one that nobody has trained in this clone."
    if kind_of(words) not in ("generate", "evaluate"): return
    names = [words[i + 1] for i, word in enumerate(words[:-1]) if word in ("run", "--run")] or ["demo"]
    for name in names:
        folder = clone / "outputs" / name
        if not (folder / "generator.safetensors").exists(): shutil.copytree(trained, folder, dirs_exist_ok=True)


def forget_runs(outputs):
    for folder in outputs.iterdir():
        if folder.is_dir() and folder.name not in ("reference", "trained"): shutil.rmtree(folder)


def type_commands(chosen):
    "Types every command of the chosen pages that can be typed, each short form once; yields a row each."
    home = Path(tempfile.mkdtemp(prefix="commands-"))
    clone = home / "project"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
    write_cells(home / "my_cells")
    server = WarmServer(environment_of(clone))
    train = ["papermill", "nbs/train.ipynb", "outputs/trained/train.ipynb", "-p", "run", "trained"]
    problem = type_command(shortened(train, home)[0], clone, server)
    assert not problem, problem
    seen = {}  # what was typed -> (what became of it, seconds)
    for page in chosen:
        forget_runs(clone / "outputs")  # whoever reads a page begins with it
        for command in commands_in(prose(page)):
            words = words_of(completed(command, page))
            row = dict(page=page.relative_to(ROOT).as_posix(), command=command, added="", seconds="")
            row["result"] = why_not_typed(command, words)
            if not row["result"]:
                words, row["added"] = shortened(words, home)
                key = " ".join(words)
                if key not in seen:
                    for old in ("part", "kept"): shutil.rmtree(clone / "outputs" / old, ignore_errors=True)
                    put_run(words, clone, clone / "outputs" / "trained")
                    start = time.monotonic()
                    problem = type_command(words, clone, server)
                    seen[key] = verdict(command, problem), round(time.monotonic() - start)
                row["result"], row["seconds"] = seen[key]
            yield row
            print(f"{row['page']}: {command}: {row['result']} {row['seconds']}", flush=True)
    server.stop()
    shutil.rmtree(home, ignore_errors=True)


def verdict(command, problem):
    "What became of a command that was typed."
    if expected := WRONG.get(command):
        return "refused, as the page says" if expected in problem else problem or "accepted"
    return problem or "typed"


def write_table(file, rows):
    with open(file, "w", newline="", encoding="utf-8") as out:
        table = csv.DictWriter(out, ("page", "command", "added", "result", "seconds"), lineterminator="\n")
        table.writeheader()
        table.writerows(rows)


def main():
    if "--run" not in sys.argv:
        problems = every_command_could_be_typed()
        print(problems or "every command could be typed")
        return int(bool(problems))
    names = sys.argv[sys.argv.index("--run") + 1:]
    order = [page.relative_to(ROOT).as_posix() for page in pages()]
    unknown = set(names) - set(order)
    assert not unknown, f"no such page: {', '.join(sorted(unknown))}"
    file = ROOT / "outputs" / "reference" / "commands" / "table.csv"
    file.parent.mkdir(parents=True, exist_ok=True)
    rows = list(csv.DictReader(file.open(encoding="utf-8"))) if names and file.exists() else []
    rows = [row for row in rows if row["page"] not in names and row["page"] in order]
    for row in type_commands([page for page in pages() if not names or page.relative_to(ROOT).as_posix() in names]):
        rows.append(row)
        write_table(file, sorted(rows, key=lambda row: order.index(row["page"])))
    return 0


if __name__ == "__main__":
    sys.exit(main())
