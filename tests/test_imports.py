"""Every module imports with no optional package and on other systems, and commands start in the checkout."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]

CODE = """
import importlib, os, pkgutil, signal, sys

for name in ("onnxruntime", "tensorrt", "tensorrt_rtx", "pycuda", "cuda", "hypothesis", "pytest"):
    sys.modules[name] = None  # importing it fails, as if it were not installed
import filelock, torch  # which import some of them where there are any
for name in ("fcntl", "grp", "pty", "pwd", "resource", "termios", "tty"):
    sys.modules[name] = None  # as on Windows
for place, names in ((os, ("fork", "getuid", "killpg", "posix_fallocate", "O_DIRECTORY", "O_NOFOLLOW", "O_NONBLOCK",
                           "sched_getaffinity", "setsid", "sysconf")), (signal, ("SIGHUP", "SIGKILL"))):
    for name in names:
        delattr(place, name)
import secateur
names = [m.name for m in pkgutil.walk_packages(secateur.__path__, "secateur.") if not m.name.endswith("__main__")]
for name in names:
    importlib.import_module(name)
assert not torch.cuda.is_initialized()
print(len(names))
"""


def test_every_module_imports_without_optional_packages_and_on_other_systems() -> None:
    done = subprocess.run([sys.executable, "-P", "-c", CODE], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 50


def test_commands_start_in_the_checkout_whose_own_folder_comes_first() -> None:
    done = subprocess.run([sys.executable, "-m", "secateur", "--help"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.lower().startswith("usage")
