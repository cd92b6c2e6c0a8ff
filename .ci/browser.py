"""The notebooks in a browser: `uv run --group docs .ci/browser.py [FOLDER]` starts JupyterLab in a clone of HEAD, opens
`train` (short), `evaluate` and `explore` in Chromium, runs all cells of each, and moves the sliders of `explore`, there
and then as an app under Voila.

An error, a red box of standard error, a cell that did not end, or a slider that leaves the picture as it was is a
failure. Screenshots go to FOLDER, by default `outputs/browser/`, which git ignores. Needs Debian's packages `chromium`
and `chromium-driver`, and ends with a word and status 0 where they are missing.
"""

import importlib.util
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parent.parent
# Parameters in the copies that are opened, so that training and judging take seconds.
SHORT = {
    "train": {"run": '"browser"', "image_size": "32", "width": "2", "iterations": "40", "batch_size": "4"},
    "evaluate": {"run": '"browser"', "per_class": "6", "patches": "300"},
    "explore": {"run": '"browser"', "patches": "100"},
}
LONGEST = 400  # seconds for one notebook


def missing():
    "What is not installed; empty where all is there."
    programs = [name for name in ("chromium", "chromedriver") if not shutil.which(name)]
    return programs + [name for name in ("selenium", "jupyterlab", "voila") if importlib.util.find_spec(name) is None]


def clone_with_short_notebooks(home):
    "A clone of HEAD whose notebooks have the parameters of `SHORT`."
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(home / "project")], check=True)
    for name, parameters in SHORT.items():
        path = home / "project" / "nbs" / f"{name}.ipynb"
        notebook = nbformat.read(path, as_version=4)
        cell = next(cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", []))
        for parameter, value in parameters.items():
            cell.source, changed = re.subn(
                rf"^({parameter}: \w+ = )\S+", rf"\g<1>{value}", cell.source, flags=re.MULTILINE
            )
            assert changed, f"{name} has no parameter {parameter}"
        nbformat.write(notebook, path)
    return home / "project"


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def refuse_news(settings):
    "JupyterLab asks each newcomer whether it may fetch news; its question would lie over the pictures."
    file = settings / "lab" / "user-settings" / "@jupyterlab" / "apputils-extension"
    file.mkdir(parents=True)
    (file / "notification.jupyterlab-settings").write_text('{"fetchNews": "false"}')


def start_server(project, port, *command):
    "A program of Jupyter in the clone, from its module and arguments."
    environment = os.environ | dict(PYTHONPATH=str(project), JUPYTER_CONFIG_DIR=str(project.parent / "settings"))
    command = [sys.executable, "-m", *command, "--no-browser", f"--port={port}"]
    return subprocess.Popen(command, cwd=project, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def start_lab(project):
    "JupyterLab in the clone: (process, address)."
    port = free_port()
    refuse_news(project.parent / "settings")
    process = start_server(
        project,
        port,
        "jupyterlab",
        "--allow-root",
        "--ip=127.0.0.1",
        "--IdentityProvider.token=",
        "--ServerApp.disable_check_xsrf=True",
        "--expose-app-in-browser",
    )
    address = f"http://127.0.0.1:{port}"
    wait_until(lambda: answers(f"{address}/api"), 60, "JupyterLab does not answer")
    return process, address


def as_an_app(project, browser, folder):
    "What is wrong with `explore` under Voila."
    port = free_port()
    process = start_server(project, port, "voila", "nbs/explore.ipynb")
    try:
        wait_until(lambda: listens(port), 60, "Voila does not answer")
        browser.get(f"http://127.0.0.1:{port}")  # which runs the notebook
        problems = move_sliders(browser, folder, "app")
        shown = browser.execute_script("return document.body.innerText")
        return problems + ["explore: the app shows nbdev's own cell"] * ("skip_exec" in shown)
    finally:
        process.terminate()
        process.wait()


def answers(address):
    try:
        return urllib.request.urlopen(address, timeout=5).status == 200
    except OSError:
        return False


def listens(port):
    with socket.socket() as caller:
        return caller.connect_ex(("127.0.0.1", port)) == 0


def wait_until(true, seconds, otherwise):
    "Returns when `true()` is; raises `AssertionError` with a sentence after so many seconds."
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, otherwise
        time.sleep(0.5)


def open_browser():
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1400,2400"):
        options.add_argument(argument)
    service = webdriver.ChromeService(shutil.which("chromedriver"))
    return webdriver.Chrome(options=options, service=service)


# JupyterLab shows only the cells in view, so what ran is asked of its model and not of the page.
STATES = """
const cells = [...jupyterapp.shell.currentWidget.content.model.cells]
return cells.filter(cell => cell.type == 'code').map(cell => {
  const outputs = cell.sharedModel.toJSON().outputs
  return {count: cell.executionCount, state: cell.executionState || 'idle', source: cell.sharedModel.getSource(),
          errors: outputs.filter(o => o.output_type == 'error').map(o => o.ename + ': ' + o.evalue),
          red: outputs.filter(o => o.name == 'stderr').map(o => [o.text].flat().join(''))}
})
"""


def states(browser):
    return browser.execute_script(STATES)


def run_all(browser, address, name):
    "Opens a notebook, runs all cells, and returns what is wrong with their outputs."
    browser.get(f"{address}/lab/workspaces/{name}/tree/nbs/{name}.ipynb?reset")
    ready = (
        "return !!(window.jupyterapp && jupyterapp.shell.currentWidget && jupyterapp.shell.currentWidget.content && "
        "jupyterapp.shell.currentWidget.content.model && jupyterapp.shell.currentWidget.sessionContext.session)"
    )
    wait_until(lambda: browser.execute_script(ready), 90, f"{name} does not open")
    browser.execute_script("jupyterapp.commands.execute('notebook:run-all-cells')")
    codes = [cell for cell in states(browser) if cell["source"].strip()]
    wait_until(
        lambda: (
            sum(bool(cell["count"]) for cell in states(browser)) >= len(codes)
            and all(cell["state"] == "idle" for cell in states(browser))
            or any(cell["errors"] for cell in states(browser))
        ),
        LONGEST,
        f"{name} does not end",
    )
    found = states(browser)
    return [
        f"{name}: {kind} in the cell that begins {cell['source'][:50]!r}: {text.strip()[:300]}"
        for cell in found
        for kind, texts in (("error", cell["errors"]), ("red box", cell["red"]))
        for text in texts
    ]


def screenshots(browser, folder, name):
    "A picture for each screen of the open notebook."
    area = "document.querySelector('.jp-WindowedPanel-outer')"
    # JupyterLab scrolls beyond the last cell, where there is nothing to see.
    seen = f"return [...{area}.querySelectorAll('.jp-Cell')].some(c => c.getBoundingClientRect().bottom > 120)"
    browser.execute_script(f"{area}.scrollTop = 0")
    for number in range(12):
        time.sleep(1)
        if not browser.execute_script(seen): return
        browser.save_screenshot(str(folder / f"{name}-{number}.png"))
        moved = (f"const a = {area}; const before = a.scrollTop; a.scrollTop += a.clientHeight * 0.95; "
                 "return a.scrollTop > before + 5")
        if not browser.execute_script(moved):
            return


def picture(browser):
    "The first picture of the panel, as its data; found and read at once, since the panel replaces it."
    script = "const found = document.querySelector('.widget-html img'); return found ? found.src : ''"
    return browser.execute_script(script)


def move_sliders(browser, folder, where):
    "What is wrong with the sliders of `explore`, in the notebook or in the app: each must change the first picture."
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    problems = []
    wait_until(lambda: picture(browser), LONGEST, f"explore shows no picture in the {where}")
    for name in ("truncation", "walk", "morph"):
        slider = browser.find_element(
            By.XPATH,
            f"//div[contains(@class,'widget-slider')][label[text()='{name}']]//div[contains(@class,'noUi-handle')]",
        )
        before = picture(browser)
        slider.send_keys(Keys.ARROW_LEFT * 6 if name == "truncation" else Keys.ARROW_RIGHT * 10)
        try:
            wait_until(lambda: picture(browser) not in ("", before), 20, "")
        except AssertionError:
            problems.append(f"explore: the slider {name} does not change the picture in the {where}")
        browser.save_screenshot(str(folder / f"explore-{where}-{name}.png"))
    return problems


def main(folder):
    if absent := missing():
        print(f"skipped: no {', '.join(absent)} here")
        return 0
    folder.mkdir(parents=True, exist_ok=True)
    problems = []
    with tempfile.TemporaryDirectory() as home:
        project = clone_with_short_notebooks(Path(home).resolve())
        process, address = start_lab(project)
        browser = open_browser()
        try:
            for name in SHORT:
                began = time.monotonic()
                problems += run_all(browser, address, name)
                print(f"{name}: all cells run in {time.monotonic() - began:.0f} s", flush=True)
                screenshots(browser, folder, name)
            browser.execute_script("jupyterapp.shell.currentWidget.content.scrollToItem(8)")
            problems += move_sliders(browser, folder, "notebook")
            problems += as_an_app(project, browser, folder)
        finally:
            browser.save_screenshot(str(folder / "last.png"))
            browser.quit()
            process.terminate()
            process.wait()
    print("\n".join(problems) or "no error, no red box, and every slider changes the picture")
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "outputs" / "browser"))
