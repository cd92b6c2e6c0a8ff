"""How the house is ordered: checks of pages and modules, for `.ci/checks.py`. Each returns what is wrong, or ""."""

import ast
import re
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import nbformat
import papermill

ROOT = Path(__file__).resolve().parent.parent
MAX_MODULE_LINES, MAX_CELL_LINES, MAX_COLUMNS = 300, 25, 120
SCRIPTS = (".ci/*.py", ".site/*.py", "nbs/8_tests/*.py", "outputs/reference/*/*.py")


def pages():
    "The pages of chapters, in reading order."
    return sorted((ROOT / "nbs").glob("[0-9]*/[0-9]*.ipynb"))


def code_cells(page):
    return [cell.source for cell in nbformat.read(page, as_version=4).cells if cell.cell_type == "code"]


def without_number(name):
    return re.sub(r"^\d+_", "", name)


def module_of(page):
    "The module that a page should export to: `nbs/3_model/04_sgc.ipynb` is `cellgan.model.sgc`."
    return f"cellgan.{without_number(page.parent.name)}.{without_number(page.stem)}"


def file_of(module):
    return ROOT.joinpath(*module.split(".")).with_suffix(".py")


def exported_module(page):
    "The module that a page exports to by its `default_exp`; None for a page that exports nothing."
    found = re.search(r"^#\s*\|\s*default_exp (\S+)", "\n".join(code_cells(page)), re.MULTILINE)
    return found and f"cellgan.{found[1]}"


def imports_in(source, module, modules):
    "Those of `modules` that a piece of code imports, anywhere in it."
    package, names = module.split("."), set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            parents = package[: len(package) - node.level] if node.level else []
            base = ".".join([*parents, *filter(None, [node.module])])
            names |= {base} | {f"{base}.{alias.name}" for alias in node.names}
    return (names & set(modules)) - {module}


def chapter_modules():
    "Module -> its page, in reading order."
    return {module: page for page in pages() if (module := exported_module(page))}


def module_imports():
    "Module -> the modules of the package that it imports."
    modules = chapter_modules()
    return {
        module: imports_in(file_of(module).read_text(), module, modules)
        for module in modules
        if file_of(module).is_file()
    }


def pages_and_modules_have_one_name():
    "A page and its module are found from one another without a table."
    problems = []
    for page in pages():
        exported = exported_module(page)
        if exported and exported != module_of(page):
            problems.append(f"{page.relative_to(ROOT)} exports {exported}: by its name it should be {module_of(page)}")
    known = {file_of(module) for module in chapter_modules()}
    for file in sorted((ROOT / "cellgan").glob("*/*.py")):
        if file.name != "__init__.py" and file not in known:
            problems.append(f"{file.relative_to(ROOT)} has no page of its name: `git rm` it, or give it one")
    return "\n".join(problems)


def no_import_circles():
    try:
        tuple(TopologicalSorter(module_imports()).static_order())
    except CycleError as error:
        return "modules import each other in a circle: " + " <- ".join(error.args[1])
    return ""


def imports_lead_to_earlier_pages():
    "A page imports earlier pages of its chapter and of earlier chapters, and nothing else."
    modules, problems = chapter_modules(), []
    for module, imported in module_imports().items():
        for other in sorted(imported):
            if modules[other] >= modules[module]:
                here, there = (modules[name].relative_to(ROOT / "nbs") for name in (module, other))
                problems.append(
                    f"{here} imports {there}: a page imports earlier pages only, so move one of them or what they share"
                )
    return "\n".join(problems)


def modules_are_short():
    lengths = {
        module: len(file_of(module).read_text().splitlines())
        for module in chapter_modules()
        if file_of(module).is_file()
    }
    return "\n".join(
        f"{module} has {n} lines, over {MAX_MODULE_LINES}: split its page in two, one subject each"
        for module, n in lengths.items()
        if n > MAX_MODULE_LINES
    )


def exported_cells_are_short():
    "Blank lines count, comments for nbdev (`#| export`) do not."
    problems = []
    for page in pages():
        for source in code_cells(page):
            lines = [line for line in source.splitlines() if not re.match(r"#\s*\|", line)]
            if re.match(r"#\s*\|\s*export", source) and len(lines) > MAX_CELL_LINES:
                problems.append(
                    f"{page.relative_to(ROOT)}: a cell of {len(lines)} lines is exported, over {MAX_CELL_LINES}; "
                    f"it begins {lines[0][:60]!r}"
                )
    return "\n".join(problems)


def lines_are_short():
    problems = []
    for script in sorted(path for pattern in SCRIPTS for path in ROOT.glob(pattern)):
        problems += [
            f"{script.relative_to(ROOT)}, line {number}: {len(line)} columns, over {MAX_COLUMNS}"
            for number, line in enumerate(script.read_text(encoding="utf-8").splitlines(), 1)
            if len(line) > MAX_COLUMNS
        ]
    for page in sorted((ROOT / "nbs").rglob("*.ipynb")):
        for source in code_cells(page):
            problems += [
                f"{page.relative_to(ROOT)}: {len(line)} columns, over {MAX_COLUMNS}: {line.strip()[:60]}..."
                for line in source.splitlines()
                if len(line) > MAX_COLUMNS
            ]
    return "\n".join(problems)


def page_numbers_are_their_own():
    "Inside a chapter the number is the reading order, so no two pages share one."
    taken, problems = {}, []
    for page in pages():
        place = page.parent.name, page.name[:2]
        if place in taken:
            problems.append(
                f"{page.relative_to(ROOT)} and {taken[place].name} have the same number: give one of them another"
            )
        taken[place] = page
    return "\n".join(problems)


OTHERS_METHODS = {"forward", "backward"}  # torch says what these are; what the module does stands at its class


def references_have_the_page_numbers():
    "Numbers in the texts of pages: `[04](04_sgc.ipynb)`, `3_model/04_sgc`, `3_model/04`."
    problems, there = [], {f"{page.parent.name}/{page.stem}" for page in pages()}
    numbers = {name[: name.index("/") + 3] for name in there}
    for page in pages():
        text = "\n".join(cell.source for cell in nbformat.read(page, as_version=4).cells)
        problems += [
            f"{page}: the link [{label}] leads to {target}"
            for label, target in re.findall(r"\[(\d\d)\]\((?:\.\./\w+/)?(\d\d)_", text)
            if label != target
        ]
        named = re.findall(r"(?<![\w/])(\d_[a-z]+/\d\d)(_\w+)?", text)
        problems += [
            f"{page}: {number}{name} is no page"
            for number, name in named
            if (number + name not in there if name else number not in numbers)
        ]
    return "\n".join(problems)


def definitions_in(body, names=""):
    "The public classes and functions of a module, methods too, each with its full name."
    for node in body:
        if (
            not isinstance(node, (ast.ClassDef, ast.FunctionDef))
            or node.name.startswith("_")
            or node.name in OTHERS_METHODS
        ):
            continue
        if names and node.end_lineno == node.lineno:
            continue  # a method of one line says itself what it does
        yield names + node.name, node
        if isinstance(node, ast.ClassDef):
            yield from definitions_in(node.body, f"{names}{node.name}.")


def gives_something_back(function):
    "Whether a function returns or yields a value, functions inside it apart."
    left = list(function.body)
    while left:
        node = left.pop()
        if isinstance(node, (ast.FunctionDef, ast.Lambda, ast.ClassDef)):
            continue
        if isinstance(node, (ast.Return, ast.Yield)) and node.value and getattr(node.value, "value", 0) is not None:
            return True
        left += ast.iter_child_nodes(node)
    return False


def says_what_comes_back(function, lines):
    "By its annotation, or by a comment after the last parenthesis of its head."
    if function.returns:
        return True
    last = max([function, *ast.walk(function.args)], key=lambda node: getattr(node, "end_lineno", 0))
    below_parameters = function.lineno if last is function else last.end_lineno
    head = lines[below_parameters - 1 : function.body[0].lineno - 1]
    return any(re.match(r"\s*(def .*)?\):\s+#", line) for line in head)


def is_described(method, lines):
    "Whether comments say what goes in and what comes out, as `images: Tensor,  # (N, 3, S, S)`."
    return any(re.match(r"\s*\)( -> .*)?:\s+#", line) for line in lines[method.lineno : method.body[0].lineno - 1])


def docstrings_say_what_comes_back():
    "Every public class and function has a docstring of at least three words, and says what it returns."
    problems = []
    for module in chapter_modules():
        source = file_of(module).read_text()
        for name, node in definitions_in(ast.parse(source).body):
            place, docstring = f"{module}.{name}", ast.get_docstring(node) or ""
            described = "." in name and is_described(node, source.splitlines())
            if len(docstring.split()) < 3 and not described:
                problems.append(
                    f"{place} has the docstring {docstring!r}: say in a sentence what it does or what comes back"
                )
            if isinstance(node, ast.FunctionDef) and gives_something_back(node):
                if not says_what_comes_back(node, source.splitlines()):
                    problems.append(f"{place} returns something: annotate it, or write `):  # what comes back`")
    return "\n".join(problems)


def windows_has_the_modules():
    "A module that Windows lacks is imported where its absence is caught, not at the top."
    missing = {"fcntl", "grp", "posix", "pty", "pwd", "resource", "termios", "tty", "syslog"}
    problems = []
    for module in chapter_modules():
        for node in ast.parse(file_of(module).read_text()).body:
            if not isinstance(node, (ast.Import, ast.ImportFrom)):
                continue
            names = {alias.name for alias in node.names} if isinstance(node, ast.Import) else {node.module}
            problems += [f"{module} imports {name}, which Windows does not have" for name in sorted(names & missing)]
    return "\n".join(problems)


def text_without_encoding(node):
    "Whether a call reads or writes text in whatever encoding the system has."
    if not isinstance(node, ast.Call) or any(word.arg == "encoding" for word in node.keywords):
        return False
    if isinstance(node.func, ast.Attribute):
        return (node.func.attr, len(node.args)) in (("read_text", 0), ("write_text", 1))
    if not isinstance(node.func, ast.Name) or node.func.id != "open":
        return False
    modes = [*node.args[1:2], *(word.value for word in node.keywords if word.arg == "mode")]
    return not any(isinstance(mode, ast.Constant) and "b" in mode.value for mode in modes)


def text_files_are_utf8():
    "Windows has other encodings of its own, in which a class name or a comment may not be written or read."
    problems = []
    for module in chapter_modules():
        source = file_of(module).read_text()
        problems += [
            f"{module} reads or writes text without its encoding: {source.splitlines()[node.lineno - 1].strip()[:80]}"
            for node in ast.walk(ast.parse(source))
            if text_without_encoding(node)
        ]
    return "\n".join(problems)


def papermill_lists_every_parameter():
    "`papermill --help-notebook` passes over a line that it cannot parse, such as one with a `=` in a quoted comment."
    problems = []
    for page in sorted((ROOT / "nbs").glob("*.ipynb")):
        cells = [cell for cell in nbformat.read(page, 4).cells if "parameters" in cell.metadata.get("tags", [])]
        nodes = [node for cell in cells for node in ast.parse(cell.source).body if isinstance(node, ast.AnnAssign)]
        missing = {node.target.id for node in nodes} - set(papermill.inspect_notebook(str(page)))
        problems += [f"{page.name}: papermill cannot parse the line of {name}" for name in sorted(missing)]
    return "\n".join(problems)


CHECKS = [
    papermill_lists_every_parameter,
    page_numbers_are_their_own,
    references_have_the_page_numbers,
    docstrings_say_what_comes_back,
    pages_and_modules_have_one_name,
    no_import_circles,
    imports_lead_to_earlier_pages,
    modules_are_short,
    exported_cells_are_short,
    lines_are_short,
    windows_has_the_modules,
    text_files_are_utf8,
]

if __name__ == "__main__":
    for check in CHECKS:
        problem = check()
        print(f"--- {check.__name__}: {len(problem.splitlines())} problems")
        print(problem, end="\n" if problem else "")
