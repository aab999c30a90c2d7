"""Every module imports with no optional package installed, and every public name reports a public module."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import secateur

ROOT = Path(__file__).parents[1]

CODE = """
import importlib, pkgutil, sys

for name in ("onnxruntime", "tensorrt", "tensorrt_rtx", "pycuda", "cuda", "hypothesis", "pytest"):
    sys.modules[name] = None  # importing it fails, as if it were not installed
import secateur, torch
names = [m.name for m in pkgutil.walk_packages(secateur.__path__, "secateur.") if not m.name.endswith("__main__")]
for name in names:
    importlib.import_module(name)
assert not torch.cuda.is_initialized()
print(len(names))
"""


def test_every_module_imports_without_optional_packages() -> None:
    done = subprocess.run([sys.executable, "-P", "-c", CODE], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 50


def test_importing_the_facade_is_light() -> None:
    code = "import sys, secateur; assert 'torch' not in sys.modules and 'matplotlib' not in sys.modules"
    subprocess.run([sys.executable, "-P", "-c", code], check=True)


def test_every_public_name_is_there_and_comes_from_secateur() -> None:
    for name in secateur.__all__:
        thing = getattr(secateur, name)
        if name != "__version__":
            assert thing.__module__.startswith("secateur."), name
            assert thing.__doc__, name


@pytest.mark.parametrize("module", ["secateur", "secateur_studies.readme"])
def test_modules_start_in_the_checkout_whose_own_folder_comes_first(module: str) -> None:
    done = subprocess.run([sys.executable, "-m", module, "--help"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.lower().startswith("usage")
