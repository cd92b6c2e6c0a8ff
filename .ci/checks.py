"""What must hold in a clean clone besides the tests: `python .ci/checks.py TESTLOG`, where TESTLOG is what
`nbdev_test --do_print` printed. Ends with the line `N passed, M failed`, a check and a test notebook each counting
as one, and exits non-zero if any failed.
"""

import configparser
import importlib.util
import os
import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

import nbformat
import yaml
from nbdev.config import get_config
from nbdev.doclinks import nbglob
from packaging.requirements import Requirement

from commands import every_command_could_be_typed
from dependencies import every_dependency_says_why
from figures import every_kept_result_is_on_the_results_page, quoted_figures_are_those_of_their_files
from house import CHECKS as HOUSE_CHECKS
from render_readme import LINK, ROOT, render
from wheel import failures

NOTEBOOKS = sorted(path for path in (ROOT / "nbs").rglob("*.ipynb") if ".ipynb_checkpoints" not in path.parts)
MAX_NOTEBOOK_BYTES = 1_000_000


def command(*arguments):
    "What `arguments` prints, run in the project's root."
    return subprocess.run(arguments, cwd=ROOT, check=True, text=True, capture_output=True).stdout


def changes(*paths):
    "Why not, if git sees a change below `paths`."
    status = command("git", "status", "--porcelain", "--", *paths)
    return status + command("git", "diff", "--stat", "--", *paths) if status else ""


def nbdev(program):
    command(str(Path(sys.executable).with_name(program)))


def tests_leave_no_trace():
    return changes(".")


def nbdev_export_changes_nothing():
    nbdev("nbdev_export")
    return changes("cellgan", "pyproject.toml")


def nbdev_clean_changes_nothing():
    nbdev("nbdev_clean")
    return changes("nbs")


def readme_is_the_rendered_index():
    stale = [
        str(path.relative_to(ROOT))
        for path, content in render(ROOT / "nbs" / "index.ipynb").items()
        if not path.exists() or path.read_bytes() != content
    ]
    return (
        f"{', '.join(stale)}: not what nbs/index.ipynb renders to; run `uv run .ci/render_readme.py`" if stale else ""
    )


def linked_files(page):
    "The files that a markdown page in the project's root links to."
    links = {match["target"].partition("#")[0] for match in LINK.finditer((ROOT / page).read_text())}
    return {link for link in links if link and not re.match(r"[a-z]+:", link)}


def every_notebook_is_listed():
    "What people run is on the front page, and every page of a chapter in CONTRIBUTING.md; links lead somewhere."
    readme, contributing = linked_files("README.md"), linked_files("CONTRIBUTING.md")
    problems = [f"no such file: {link}" for link in sorted(readme | contributing) if not (ROOT / link).exists()]
    for path in NOTEBOOKS:
        name, in_chapter = path.relative_to(ROOT).as_posix(), path.parent != ROOT / "nbs"
        if in_chapter and name not in contributing:
            problems.append(f"not in CONTRIBUTING.md: {name}; run `uv run .ci/list_pages.py`")
        if not in_chapter and path.stem != "index" and name not in readme:
            problems.append(f"not in the front page's table: {name}; add it to nbs/index.ipynb")
    return "\n".join(problems)


def settings_agree():
    "One version, one minimum of Python, one set of pins: settings.ini, pyproject.toml, environment.yml, the package."
    import cellgan

    parser = configparser.ConfigParser()
    parser.read(ROOT / "settings.ini")
    settings = parser["DEFAULT"]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    pip_section = next(entry["pip"] for entry in environment if isinstance(entry, dict))
    python = next(Requirement(entry) for entry in environment if isinstance(entry, str) and entry.startswith("python"))

    def pins(lines):
        return {f"{requirement.name}{requirement.specifier}" for requirement in map(Requirement, lines)}

    folders = {f"cellgan.{file.parent.name}" for file in (ROOT / "cellgan").glob("*/__init__.py")}
    docs_pins = pins(project["dependency-groups"]["docs"])
    extras = sum(project["project"]["optional-dependencies"].values(), [])
    everything = project["project"]["dependencies"] + extras + project["dependency-groups"]["dev"]
    uv_pins = pins(line for line in everything if Requirement(line).name != project["project"]["name"])
    conda_pins = pins(line for line in pip_section if line != "-e .")
    requires_python = Requirement("python" + project["project"]["requires-python"]).specifier
    compared = {
        "environment.yml and pyproject.toml: packages that one has and the other has not": (
            sorted(conda_pins - uv_pins),
            sorted(uv_pins - conda_pins),
        ),
        "environment.yml and pyproject.toml: python": (python.specifier, requires_python),
        "environment.yml installs the project itself": (pip_section.count("-e ."), 1),
        "settings.ini and pyproject.toml: name": (settings["lib_name"], project["project"]["name"]),
        "settings.ini and pyproject.toml: minimum of Python": (
            f">={settings['min_python']}" in map(str, requires_python),
            True,
        ),
        "settings.ini and cellgan/__init__.py: version": (settings["version"], cellgan.__version__),
        "pyproject.toml: packages of the wheel": (
            sorted({"cellgan", "cellgan.project"} | folders),
            sorted(project["tool"]["setuptools"]["packages"]),
        ),
        "packages without a pin": ([pin for pin in uv_pins | docs_pins if "==" not in pin], []),
    }
    return "\n".join(f"{what}: {left} against {right}" for what, (left, right) in compared.items() if left != right)


def workflow_notebooks_have_parameters():
    "A notebook without a number in its name is run by papermill, which finds its parameters by a cell's tag."
    workflows = [
        path for path in NOTEBOOKS if not path.name[0].isdigit() and path.name[0] != "_" and path.stem != "index"
    ]
    untagged = [
        path.name
        for path in workflows
        if not any("parameters" in cell.metadata.get("tags", []) for cell in nbformat.read(path, as_version=4).cells)
    ]
    return f"no cell tagged `parameters`: {', '.join(untagged)}" if untagged else ""


def site_builds():
    "All pages, without a warning; skipped where the group `docs` is not installed."
    if importlib.util.find_spec("sphinx") is None:
        print("note: the site is not built: `uv sync --inexact --group docs` installs what it needs")
        return ""
    with tempfile.TemporaryDirectory() as folder:
        arguments = [sys.executable, str(ROOT / ".site" / "build.py"), folder]
        built = subprocess.run(arguments, cwd=ROOT, text=True, capture_output=True)
    return (built.stdout + built.stderr)[-4000:] if built.returncode else ""


def wheel_works_outside_a_clone():
    return "\n".join(failures())


def notebooks_are_small():
    large = [
        f"{path.name} ({path.stat().st_size / 1e6:.1f} MB)"
        for path in NOTEBOOKS
        if path.stat().st_size > MAX_NOTEBOOK_BYTES
    ]
    return f"over {MAX_NOTEBOOK_BYTES / 1e6:.0f} MB: {', '.join(large)}" if large else ""


def no_lock_file_in_git():
    tracked = [
        name
        for name in command("git", "ls-files").splitlines()
        if re.search(r"(^|/)(uv\.lock|pylock[^/]*\.toml)$", name)
    ]
    return f"holds addresses of registries: {', '.join(tracked)}" if tracked else ""


# The two that may change the clone come last.
TRIALS = (
    ["faults.py"],
    ["injections.py", "--moments", "1"],
    ["crashes.py", "--moments", "2", "--only", "training,generate,cache"],
    ["disks.py", "--disks", "2", "--only", "training,generate"],
)


def damage_and_crashes_do_no_harm():
    "The scripts of outputs/reference/trust at a small scale, side by side."
    programs = [
        subprocess.Popen(
            [sys.executable, ROOT / ".ci" / name, *arguments],
            stdout=subprocess.PIPE,
            text=True,
            stderr=subprocess.STDOUT,
        )
        for name, *arguments in TRIALS
    ]
    printed = [program.communicate(timeout=600)[0] for program in programs]
    return "\n".join(text[-2000:] for text, program in zip(printed, programs) if program.returncode)


CHECKS = [
    tests_leave_no_trace,
    readme_is_the_rendered_index,
    every_notebook_is_listed,
    settings_agree,
    workflow_notebooks_have_parameters,
    site_builds,
    wheel_works_outside_a_clone,
    notebooks_are_small,
    no_lock_file_in_git,
    quoted_figures_are_those_of_their_files,
    every_kept_result_is_on_the_results_page,
    every_command_could_be_typed,
    every_dependency_says_why,
    damage_and_crashes_do_no_harm,
    *HOUSE_CHECKS,
    nbdev_export_changes_nothing,
    nbdev_clean_changes_nothing,
]


def test_results(
    log: str,  # what `nbdev_test --do_print` printed
) -> dict[str, bool]:  # notebook -> passed
    "Without nbdev's `Success.`, a notebook passed if it was completed, or is never executed, and no failure is listed."
    os.chdir(ROOT)
    tested = sorted(
        path.resolve().relative_to(ROOT / "nbs").as_posix() for path in nbglob(get_config().nbs_path, as_path=True)
    )
    if re.search(r"^Success\.$", log, flags=re.MULTILINE):
        return dict.fromkeys(tested, True)
    # Workers print side by side, so a line may hold more than one message.
    completed = {
        Path(path).relative_to(ROOT / "nbs").as_posix() for path in re.findall(r"- Completed (.+?\.ipynb)", log)
    }
    listed = log.partition("nbdev Tests Failed On The Following Notebooks:")[2]
    failed = set(re.findall(r"^\t(.+\.ipynb)$", listed, flags=re.MULTILINE))  # without their folders
    never = {name for name in tested if "skip_exec: true" in (ROOT / "nbs" / name).read_text(encoding="utf-8")}
    return {name: name in completed | never and Path(name).name not in failed for name in tested}


def main():
    results = {f"test {name}": passed for name, passed in test_results(Path(sys.argv[1]).read_text()).items()}
    for check in CHECKS:
        try:
            problem = check()
        except Exception as error:
            problem = f"{type(error).__name__}: {error}\n{getattr(error, 'stderr', None) or ''}"
        if problem:
            print(f"\n--- {check.__name__}\n{problem.strip()}\n")
        results[f"check {check.__name__}"] = not problem
    for name, passed in results.items():
        print("ok    " if passed else "FAILED", name)
    failures = list(results.values()).count(False)
    print(f"{len(results) - failures} passed, {failures} failed")
    return failures > 0


if __name__ == "__main__":
    sys.exit(main())
