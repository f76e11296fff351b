"""A process that has imported the heavy libraries, and runs programs in forks; the root conftest.py starts it.

Requests are lines of JSON on standard input: a program to run in a fork, answered with the fork's process id; or such
an id, answered with the fork's exit code, negative after a signal, or null while it runs.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import sys
from typing import Any, NoReturn

import torch

# What commands import when they need it: imported here once, and not in every fork.
for name in (
    *(
        "probebench.cli.report",
        "probebench.harness.runner",
        "probebench.harness.training",
        "probebench.generation.sample",
    ),
    *(
        "probebench_datasets.bundled.scattered_digits",
        "probebench_ddpm.backbones.ddpm",
        "probebench_ddpm.training.trainer",
        "probebench_probes.neighbours.knn",
    ),
    *("safetensors.torch", "scipy.stats"),
):
    importlib.import_module(name)


def run_program(request: dict[str, Any]) -> NoReturn:
    """Does what a fresh process does for ``python -c code arguments``, and ends with the same exit code."""
    for number, name in enumerate((os.devnull, request["out"], request["err"])):
        handle = os.open(name, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(handle, number)
        os.close(handle)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.path[:0] = [path for path in request["environment"].get("PYTHONPATH", "").split(os.pathsep) if path]
    sys.argv = ["-c", *request["arguments"]]
    code = 0
    try:
        exec(compile(request["code"], "<string>", "exec"), {"__name__": "__main__"})
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        sys.excepthook(*sys.exc_info())
        code = 1
    end_process(code)


def end_process(code: int) -> NoReturn:
    """Ends this process without the clean-up of imported modules, which takes long and changes nothing."""
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def exit_code(process: int) -> int | None:
    """Returns the exit code of a fork, or None while it runs."""
    ended, status = os.waitpid(process, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if ended else None


def serve() -> NoReturn:
    """Answers requests until standard input is closed."""
    os.fsync = lambda _: None  # protects against a power failure only; see conftest.py
    torch.set_num_threads(1)  # a fork does not inherit the other threads of its parent
    gc.freeze()  # a collection would write to all memory pages, which forks share until then
    for line in sys.stdin:
        request = json.loads(line)
        if "process" in request:
            answer = exit_code(request["process"])
        elif (answer := os.fork()) == 0:
            run_program(request)
        sys.stdout.write(f"{json.dumps(answer)}\n")
        sys.stdout.flush()
    end_process(0)


if __name__ == "__main__":
    serve()
