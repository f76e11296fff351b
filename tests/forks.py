"""Forks of one process that has imported what takes seconds to import; the root conftest.py starts and asks it.

Orders are lines of JSON on standard input: a program to be run in a fork, answered with the fork's process id; or such
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

# What commands import when they come to it, so that it is done here once and not in every fork.
for name in (
    *(
        "probebench.cli.report",
        "probebench.harness.runner",
        "probebench.harness.training",
        "probebench.generation.sample",
    ),
    *("probebench_datasets.digits", "probebench_ddpm.backbone", "probebench_ddpm.training", "probebench_probes.knn"),
    *("safetensors.torch", "scipy.stats"),
):
    importlib.import_module(name)


def become(order: dict[str, Any]) -> NoReturn:
    """Does what a fresh process would do for ``python -c code arguments``, and ends as it would."""
    for number, name in enumerate((os.devnull, order["out"], order["err"])):
        handle = os.open(name, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(handle, number)
        os.close(handle)
    os.chdir(order["folder"])
    os.environ.clear()
    os.environ.update(order["environment"])
    sys.path[:0] = [path for path in order["environment"].get("PYTHONPATH", "").split(os.pathsep) if path]
    sys.argv = ["-c", *order["arguments"]]
    code = 0
    try:
        exec(compile(order["code"], "<string>", "exec"), {"__name__": "__main__"})
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        sys.excepthook(*sys.exc_info())
        code = 1
    leave(code)


def leave(code: int) -> NoReturn:
    """Ends this process without taking apart what was imported, which takes long and gives nothing."""
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def exit_code(process: int) -> int | None:
    """Exit code of a fork that is at its end."""
    ended, status = os.waitpid(process, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if ended else None


def serve() -> NoReturn:
    """Works off the orders until there are no more."""
    os.fsync = lambda _: None  # a kill loses nothing that was written; fresh processes wait for the disk
    torch.set_num_threads(1)  # a fork has none of the threads of the process it comes from
    gc.freeze()  # a collection would touch all pages, which forks share as long as nobody does
    for line in sys.stdin:
        order = json.loads(line)
        if "process" in order:
            answer = exit_code(order["process"])
        elif (answer := os.fork()) == 0:
            become(order)
        sys.stdout.write(f"{json.dumps(answer)}\n")
        sys.stdout.flush()
    leave(0)


if __name__ == "__main__":
    serve()
