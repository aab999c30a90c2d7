"""The wheel holds exactly the tree: every module, CUDA source and data file, and nothing else."""

from __future__ import annotations

import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml

from secateur.core.version import __version__

ROOT = Path(__file__).parents[1]
FOLDERS = {
    "secateur": "secateur",
    **{f: f"secateur/{f}" for f in ("pipeline", "kernels", "export", "benchmarks", "recipes")},
}
WANTED = {".py", ".cu", ".cuh", ".typed"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    folder = tmp_path_factory.mktemp("wheel")
    tree = folder / "tree"
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    for name in listed:
        if (ROOT / name).is_file():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            (tree / name).write_bytes((ROOT / name).read_bytes())
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(tree)]
    subprocess.run(command, check=True, capture_output=True)
    (path,) = folder.glob("*.whl")
    return zipfile.ZipFile(path)


def test_the_wheel_is_the_tree(wheel: zipfile.ZipFile) -> None:
    packed = {name for name in wheel.namelist() if ".dist-info/" not in name}
    tree = set()
    for folder, target in FOLDERS.items():
        for path in (ROOT / folder).rglob("*"):
            relative = path.relative_to(ROOT / folder)
            if path.is_file() and path.suffix in WANTED and not {"__pycache__", "studies"} & {*relative.parts}:
                tree.add(f"{target}/{relative.as_posix()}")
    data = {"secateur/pipeline/demo/demo.yaml", "secateur/pipeline/demo/digits_vit.safetensors"}
    templates = (ROOT / "pipeline/report/templates").iterdir()
    data |= {f"secateur/pipeline/report/templates/{path.name}" for path in templates}
    data |= {f"secateur/recipes/{path.name}" for path in (ROOT / "recipes").glob("*.yaml")}
    assert packed == tree | data


def test_the_demo_checkpoint_is_small(wheel: zipfile.ZipFile) -> None:
    assert wheel.getinfo("secateur/pipeline/demo/digits_vit.safetensors").file_size < 4_000_000


def test_the_licence_and_the_command_are_packed(wheel: zipfile.ZipFile) -> None:
    (folder,) = {name.split("/")[0] for name in wheel.namelist() if ".dist-info/" in name}
    assert "secateur = secateur.pipeline.cli:main" in wheel.read(f"{folder}/entry_points.txt").decode()
    assert "Apache License" in wheel.read(f"{folder}/licenses/LICENSE").decode()
    assert "License-Expression: Apache-2.0" in wheel.read(f"{folder}/METADATA").decode()


def test_the_version_is_said_in_one_place_and_followed_by_all_others(wheel: zipfile.ZipFile) -> None:
    (folder,) = {name.split("/")[0] for name in wheel.namelist() if ".dist-info/" in name}
    metadata = wheel.read(f"{folder}/METADATA").decode()
    assert f"\nVersion: {__version__}\n" in metadata
    assert "\nClassifier: Typing :: Typed\n" in metadata
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == __version__
    assert f"\n## {__version__}" in (ROOT / "CHANGELOG.md").read_text()
    assert "version" not in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_the_papers_that_the_methods_are_from_are_cited() -> None:
    cited = (ROOT / "CITATION.cff").read_text()
    for paper in ("2408.12568", "2303.04935", "2210.00181"):  # the three that the project stands on
        assert f"arXiv:{paper}" in cited
