"""The same work in several fresh processes, one after the other, and what each of them found.

Each opens everything anew, so that what differs between two of them (where memory lies, which algorithm was chosen) is
among the repetitions and not a constant of the result.
"""

from __future__ import annotations

import os
import pickle
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from secateur.core.errors import BenchError
from secateur.core.say import Say

if TYPE_CHECKING:
    from secateur.core.errors import SecateurError

Found = TypeVar("Found")
Work: TypeAlias = Callable[[Say, bool], Found]
"""What a process does; `turned`, the second argument, asks every other one to open the second of two sides first."""


def in_processes(count: int, work: Work[Found], say: Say) -> list[Found]:
    """What `count` processes find; of one, which is this one.

    Raises the errors of ours that `work` raises there, and `BenchError` where it cannot be sent, or a process ends
    without an answer.
    """
    if count == 1:
        return [work(say, False)]
    with TemporaryDirectory(prefix="secateur-") as folder:
        job = Path(folder) / "job"
        job.write_bytes(_packed(work))
        return [_process(job, index, prefixed(say, f"process {index + 1} of {count}"), work) for index in range(count)]


def prefixed(say: Say, word: str) -> Say:
    """What says everything after that word."""
    return lambda message: say(f"{word}: {message}")


def _packed(work: Work[Found]) -> bytes:
    """The job of a process: where it finds modules, and what it does; classes of a script travel along."""
    import cloudpickle

    try:
        return pickle.dumps(sys.path) + bytes(cloudpickle.dumps(work))
    except Exception as error:  # objects of users raise what they like
        raise BenchError(
            f"a model cannot be sent to another process ({error}): make it one that can be pickled, or measure in this "
            "process alone with `processes` 1"
        ) from error


def _process(job: Path, index: int, say: Say, work: Work[Found]) -> Found:
    """What a fresh process finds; it is ended with this one's block, whatever ends that."""
    out, errors = job.with_name(f"found{index}"), job.with_name(f"errors{index}")
    words = [sys.executable, "-P", "-m", __name__, str(job), str(out), str(index % 2)]
    pipe = subprocess.PIPE
    with errors.open("w") as file, subprocess.Popen(words, stdin=pipe, stdout=pipe, stderr=file, text=True) as child:
        try:
            assert child.stdout is not None  # for the type checker: it is a pipe
            for line in child.stdout:
                say(line.rstrip("\n"))
            code = child.wait()
        finally:
            child.kill()
    if not out.is_file():
        said = errors.read_text(errors="replace").strip().splitlines()
        why = f"signal {signal.Signals(-code).name}" if code < 0 else (said or [f"code {code}"])[-1]
        raise BenchError(f"a process that measured has ended without an answer ({why}): measure again")
    answer: Found | SecateurError = pickle.loads(out.read_bytes())
    if isinstance(answer, Exception):
        raise answer
    return answer


def _main(job: str, out: str, turned: str) -> None:
    """Does a job; errors of ours travel back as they are."""
    from secateur.core.errors import SecateurError

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal sends it to all: who started this one ends it
    Thread(target=_end_with_parent, args=(Path(job).parent,), name="parent", daemon=True).start()
    with Path(job).open("rb") as file:
        sys.path[:] = pickle.load(file)
        try:
            work: Work[object] = pickle.load(file)
            answer = work(_print, turned == "1")
        except SecateurError as error:
            answer = error
    part = Path(f"{out}.part")
    part.write_bytes(pickle.dumps(answer))
    part.rename(out)


def _end_with_parent(folder: Path, stdin: int = 0) -> None:
    """Waits for the end of who started this process, which ends without a word where it is killed, and follows it."""
    os.read(stdin, 1)  # nobody writes: it returns when the other end of stdin is closed
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(1)


def _print(text: str) -> None:
    with suppress(BrokenPipeError):  # who reads it has ended, and `_end_with_parent` ends this one
        print(text, flush=True)


if __name__ == "__main__":
    _main(*sys.argv[1:])
