"""Work in a forked process, which has the imports of the script done, for scripts that watch it or kill it."""

import os
from contextlib import redirect_stderr, redirect_stdout


def forked(home, work):
    "Does work in a folder, in a new process that prints nothing; returns its number. `home/error` says why it failed."
    child = os.fork()
    if child:
        return child
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        try:
            os.chdir(home)
            work()
        except BaseException as error:
            (home / "error").write_text(f"{type(error).__name__}: {error}")
            os._exit(1)
    os._exit(0)
