"""What is timed in one go, here or in processes of its own: pairs of models on their targets.

Each process opens the models anew, so that what differs between two of them (where memory lies, which algorithm was
chosen) is among the repetitions and not a constant of the result.
"""

from __future__ import annotations

import os
import pickle
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread
from typing import TypeAlias

import torch

from secateur.benchmarks.effort import Effort
from secateur.benchmarks.modes.mode import HOT, Mode
from secateur.benchmarks.paired import PairedSamples, Samples, joined, measure_one, measure_pair
from secateur.benchmarks.runners import Subject, open_sides, torch_threads
from secateur.core.errors import BenchError, UnsupportedError
from secateur.core.say import Say
from secateur.export.targets import TypedTarget


@dataclass(frozen=True)
class Pair:
    """Two sides to be timed in turns under a key, each a subject on a goal, both in one mode."""

    key: str
    batch: int
    sides: tuple[tuple[Subject, TypedTarget], tuple[Subject, TypedTarget]]
    mode: Mode = HOT


Found: TypeAlias = PairedSamples | str
"""The times of a pair, or one sentence on why it cannot be timed here."""


def measured(pairs: Sequence[Pair], effort: Effort, say: Say) -> Mapping[str, Found]:
    """What was found of each pair by its key, over `effort.parts` processes; of one, in this process.

    A pair that cannot be timed in one of them is left out. Raises what opening a model raises, and `BenchError` where
    a process ends without an answer.
    """
    if effort.parts == 1 or not pairs:
        return {pair.key: timed(pair, effort, say) for pair in pairs}
    found: dict[str, list[Found]] = {pair.key: [] for pair in pairs}
    with TemporaryDirectory(prefix="secateur-") as folder:
        job = Path(folder) / "job"
        job.write_bytes(_packed(pairs, replace(effort, threads=effort.threads or torch.get_num_threads())))
        for index in range(effort.parts):
            for key, one in _process(job, index, _prefixed(say, f"process {index + 1} of {effort.parts}")).items():
                found[key].append(one)
    return {key: _together(parts) for key, parts in found.items()}


def timed(pair: Pair, effort: Effort, say: Say, turned: bool = False) -> Found:
    """The times of a pair in this process, or why it cannot be timed; `turned` opens the second side first."""
    threads = effort.threads or torch.get_num_threads()
    with torch_threads(threads), ExitStack() as stack:
        sides = open_sides(pair.sides, pair.batch, threads, effort.seed, pair.mode, turned)
        try:
            a, b = stack.enter_context(sides)
        except (BenchError, UnsupportedError) as error:  # this batch, mode or types cannot be run here
            return str(error)
        return measure_pair(
            *(a, b, effort.samples, effort.warmup, effort.seconds, effort.half_width, effort.seed),
            say=_prefixed(say, pair.key),
            least=effort.least_blocks,
        )


def timed_alone(
    key: str, subject: Subject, goal: TypedTarget, batch: int, mode: Mode, effort: Effort, say: Say
) -> Samples | str:
    """The times of one side in this process, or why it cannot be timed."""
    threads = effort.threads or torch.get_num_threads()
    with torch_threads(threads), ExitStack() as stack:
        try:
            (side,) = stack.enter_context(open_sides([(subject, goal)], batch, threads, effort.seed, mode))
        except (BenchError, UnsupportedError) as error:  # this batch, mode or types cannot be run here
            return str(error)
        return measure_one(
            *(side, effort.samples, effort.warmup, effort.seconds, effort.half_width, effort.seed),
            say=_prefixed(say, key),
        )


def _together(parts: Sequence[Found]) -> Found:
    reasons = [part for part in parts if isinstance(part, str)]
    return reasons[0] if reasons else joined([part for part in parts if not isinstance(part, str)])


def _prefixed(say: Say, word: str) -> Say:
    return lambda message: say(f"{word}: {message}")


def _packed(pairs: Sequence[Pair], effort: Effort) -> bytes:
    """The job of a process: where it finds modules, and what it measures; classes of a script travel along."""
    import cloudpickle

    try:
        return pickle.dumps(sys.path) + bytes(cloudpickle.dumps((pairs, effort.part)))
    except Exception as error:  # objects of users raise what they like
        raise BenchError(
            f"a model cannot be sent to another process ({error}): make it one that can be pickled, or measure in this "
            "process alone with `processes` 1"
        ) from error


def _process(job: Path, index: int, say: Say) -> Mapping[str, Found]:
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
    answer: Mapping[str, Found] | Exception = pickle.loads(out.read_bytes())
    if isinstance(answer, Exception):
        raise answer
    return answer


def _main(job: str, out: str, turned: str) -> None:
    """Measures what a job asks for; errors of ours travel back as they are."""
    from secateur.core.errors import SecateurError

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal sends it to all: who started this one ends it
    Thread(target=_end_with_parent, args=(Path(job).parent,), name="parent", daemon=True).start()
    with Path(job).open("rb") as file:
        sys.path[:] = pickle.load(file)
        answer: Mapping[str, Found] | SecateurError
        try:
            pairs, effort = pickle.load(file)
            answer = {pair.key: timed(pair, effort, _print, turned == "1") for pair in pairs}
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
