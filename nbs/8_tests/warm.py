"""Processes that begin with their imports done: papermill and kernels, forked from one server.

A notebook run spends most of its time importing torch and pandas, twice: in papermill and in the kernel. Here one
process imports them, and forks for each program that a test starts. The programs are the same (`papermill`,
`ipykernel_launcher`), with their own working folder, environment and output, and a kernel is a process of its own.
"""

import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

IMPORTED = (
    "IPython.core.interactiveshell ipykernel.kernelapp nbclient nbformat papermill.cli pandas matplotlib scipy.stats "
    "skimage.measure torch torch._dynamo torchvision torch_fidelity"
)


class WarmServer:
    "Starts programs in processes that have imported `IMPORTED`; ends with the process that made it, or by `stop`."

    def __init__(self, environment: dict):
        self.folder = Path(tempfile.mkdtemp())
        self.address = str(self.folder / "socket")
        kernel = self.folder / "kernels" / "python3" / "kernel.json"
        kernel.parent.mkdir(parents=True)
        command = [sys.executable, "-S", __file__, self.address, "{connection_file}"]
        kernel.write_text(json.dumps(dict(argv=command, display_name="python3", language="python")))
        self.environment = environment | {"JUPYTER_PATH": str(self.folder)}
        command = [sys.executable, __file__, self.address]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=self.environment)
        self.process.stdout.readline()  # it listens

    def run(self, module, arguments, folder, environment):
        "Runs `python -m module arguments` in a folder; returns the exit status and all that was printed."
        environment = self.environment | environment
        with tempfile.TemporaryFile() as printed:
            status = ask(self.address, module, arguments, folder, environment, [printed.fileno()] * 2)
            printed.seek(0)
            return status, printed.read().decode()

    def stop(self):
        self.process.stdin.close()
        self.process.wait()


def ask(address, module, arguments, folder, environment, outputs, interrupts=False):
    """Sends a program to the server and waits for its end; returns its exit status, -9 where it was killed.
    With `interrupts`, Ctrl-C is passed on to it."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(address)
        request = dict(module=module, arguments=list(map(str, arguments)), folder=str(folder), environment=environment)
        socket.send_fds(connection, [json.dumps(request).encode() + b"\n"], outputs)
        answers = connection.makefile()
        process = int(answers.readline())
        if interrupts:
            signal.signal(signal.SIGINT, lambda *_: os.kill(process, signal.SIGINT))
        return int(answers.readline() or -9)


def serve(address):
    "Imports everything, then forks for each request until its standard input ends."
    os.environ["MPLBACKEND"] = "module://matplotlib_inline.backend_inline"  # as ipykernel sets it before any import
    for name in IMPORTED.split():
        __import__(name)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address)
    listener.listen(64)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # no process waits for the children
    threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
    print("ready", flush=True)
    while True:
        connection, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            run_request(connection)
        connection.close()


def run_request(connection):
    "In the forked process: becomes the program that was asked for, and never returns."
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    connection.send(f"{os.getpid()}\n".encode())
    request, outputs = receive(connection)
    for target, source in zip((1, 2), outputs):
        os.dup2(source, target)
        os.close(source)
    os.environ.clear()
    os.environ.update(request["environment"])
    os.environ["JPY_PARENT_PID"] = str(os.getppid())  # a kernel ends when this process is gone
    os.chdir(request["folder"])
    sys.path[0] = request["folder"]
    sys.argv = [request["module"], *request["arguments"]]
    threading.Thread(target=lambda: (connection.recv(1), os._exit(9)), daemon=True).start()  # who asked is gone
    try:
        runpy.run_module(request["module"], run_name="__main__", alter_sys=True)
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        sys.excepthook(*sys.exc_info())
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    connection.send(f"{status}\n".encode())
    os._exit(status)


def receive(connection):
    "A request, and the files to print into."
    data, outputs, _, _ = socket.recv_fds(connection, 65536, 2)
    while not data.endswith(b"\n"):
        data += connection.recv(65536)
    return json.loads(data), outputs


def stand_for_kernel(address, connection_file, *options):
    "The process that papermill takes for the kernel: waits until the forked kernel ends."
    arguments = ["-f", connection_file, *options]
    return ask(address, "ipykernel_launcher", arguments, os.getcwd(), dict(os.environ), [1, 2], interrupts=True)


if __name__ == "__main__":
    sys.exit(stand_for_kernel(*sys.argv[1:]) if len(sys.argv) > 2 else serve(sys.argv[1]))
