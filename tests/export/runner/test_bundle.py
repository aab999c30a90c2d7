"""A bundle's files: the first one that is missing, extra, changed or linked is named."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest

from secateur.export.bundle.archive import write_archive
from secateur.export.bundle.contents import Contents, EngineOf, GraphOf
from secateur.export.bundle.make import write_bundle
from secateur.export.onnx_info import onnx_info
from secateur.export.runner.bundle import open_bundle
from secateur.export.runner.errors import BundleError
from secateur.export.runner.manifest import NAME, parse_manifest
from secateur.export.runner.verify import verify
from secateur.export.serving.triton import write_triton
from tests.export.small_bundle import make_engine


def test_an_unchanged_one(made_bundle: Path) -> None:
    with open_bundle(made_bundle) as bundle:
        assert bundle.read("licences/model.txt") == b"Free.\n"
        assert bundle.notes == ()


@pytest.fixture(scope="module")
def whole(contents: Contents, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with a file of every kind that there is; who changes it changes it back."""
    folder = tmp_path_factory.mktemp("whole")
    weights, graph = "model.onnx.data", folder / "model.onnx"
    onnx.save(
        onnx.load(contents.graphs[0].pruned.path),
        graph,
        save_as_external_data=True,
        location=weights,
        size_threshold=0,
    )
    engine = make_engine(folder / "engine", "sm_87")
    write_triton(folder / "triton", "linear", [graph])
    (folder / "config_infer.txt").write_text("[property]\n")
    beside = {f"serving/triton/{path.name}": path for path in sorted(folder.glob("triton/*/config.pbtxt"))}
    found = dataclasses.replace(
        contents,
        graphs=[GraphOf(onnx_info(graph, weights), contents.graphs[0].dense)],
        engines=[*contents.engines, EngineOf(dataclasses.replace(engine, target="tensorrt_rtx:sm_86"), engine, "orin")],
        beside={**beside, "serving/deepstream/config_infer.txt": folder / "config_infer.txt"},
    )
    write_bundle(found, folder / "whole")
    return folder / "whole"


KINDS = {
    "graphs": "onnx/model.fp32.onnx",
    "external weights": "onnx/model.onnx.data",
    "the dense graph": "dense/model.fp32.onnx",
    "engines": "engines/tensorrt_rtx-sm_86/model.engine",
    "what is known of engines": "engines/tensorrt_rtx-sm_86/engine.json",
    "engines of devices": "engines/orin/tensorrt_rtx-sm_86/model.engine",
    "dense engines": "dense/engines/orin/tensorrt_rtx-sm_86/model.engine",
    "labels": "labels.json",
    "preprocessing": "preprocessing.json",
    "golden images": "golden/image.1.png",
    "golden inputs": "golden/inputs.0.npy",
    "golden outputs": "golden/outputs.fp32.0.npy",
    "evidence": "evidence.json",
    "environment": "environment.json",
    "the runner": "bundle_runner/verify.py",
    "the runner's sensors": "bundle_runner/sensors/probe.py",
    "what Triton takes": "serving/triton/config.pbtxt",
    "what DeepStream takes": "serving/deepstream/config_infer.txt",
    "licences": "licences/model.txt",
    "the page": "README.md",
}
GROUPS = re.compile(r"\d+|(?<=bundle_runner/)\w+|(?<=licences/)\w+|(?<=sensors/)\w+")
"""What tells files of one kind apart."""


def test_no_kind_of_file_is_forgotten(whole: Path) -> None:
    files = {path.relative_to(whole).as_posix() for path in whole.rglob("*") if path.is_file()} - {NAME}
    kinds = {GROUPS.sub("*", name) for name in files}
    assert {GROUPS.sub("*", name) for name in KINDS.values()} == kinds - {"engines/orin/tensorrt_rtx-sm_*/engine.json"}
    assert {*KINDS.values()} <= files


@pytest.mark.parametrize("name", KINDS.values(), ids=KINDS)
def test_a_bit_in_any_kind_of_file_is_found_and_the_file_is_named(whole: Path, name: str, tmp_path: Path) -> None:
    before = (whole / name).read_bytes()
    data = bytearray(before)
    data[len(data) // 2] ^= 1
    names = [NAME, *parse_manifest((whole / NAME).read_bytes()).files]
    write_archive({one: bytes(data) if one == name else whole / one for one in names}, tmp_path / "x.tar")
    (whole / name).write_bytes(data)
    try:
        for place in (tmp_path / "x.tar", whole):
            with pytest.raises(BundleError, match=rf"^{re.escape(name)} was changed: its SHA-256 is "):
                verify(place, latency=False)
    finally:
        (whole / name).write_bytes(before)


def test_a_bit_anywhere_in_the_manifest_is_found_or_changes_words_alone(bundle: Path) -> None:
    """The manifest itself has no checksum: what says where files are and what is in them must fail."""
    data = (bundle / NAME).read_bytes()
    for place in range(data.index(b'"files"'), data.index(b'"graphs"'), 173):
        if data[place] in b" \n":
            continue
        (bundle / NAME).write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        with pytest.raises(BundleError), open_bundle(bundle):
            pass


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda b: (b / "labels.json").unlink(), "labels.json is missing"),
        (lambda b: (b / "extra.txt").touch(), "extra.txt is in the folder, but"),
        (lambda b: (b / "onnx" / "x.data").touch(), "onnx/x.data is in the folder"),
        (lambda b: (b / "empty").mkdir(), "'empty' is an empty folder"),
        (lambda b: (b / "labels.json").write_bytes(b""), "labels.json has 0 bytes"),
        (lambda b: (b / "link").symlink_to("/etc/passwd"), "'link' is a symbolic link"),
        (lambda b: (b / "up").symlink_to(b.parent), "'up' is a symbolic link"),
        (lambda b: os.mkfifo(b / "pipe"), "'pipe' is no regular file"),
        (lambda b: (b / NAME).unlink(), f"holds no {NAME}"),
        (lambda b: ((b / NAME).rename(b / "m"), (b / NAME).symlink_to(b / "m")), f"cannot read {NAME}"),
        (lambda b: ((b / NAME).unlink(), os.mkfifo(b / NAME)), f"{NAME} is no regular file"),
        (lambda b: (b / "bundle_runner" / "evil.pyc").touch(), "bundle_runner/evil.pyc is in the folder"),
    ],
)
def test_what_no_bundle_has(bundle: Path, change: Callable[[Path], object], words: str) -> None:
    change(bundle)
    with pytest.raises(BundleError, match=words), open_bundle(bundle):
        pass


@pytest.mark.parametrize(
    ("name", "module"), [("evidence.json", "bundle.MOST_READ"), ("golden/inputs.0.npy", "npy.MOST_BYTES")]
)
def test_what_would_fill_the_memory_is_not_read(
    made_bundle: Path, monkeypatch: pytest.MonkeyPatch, name: str, module: str
) -> None:
    """A gigabyte of zeros takes next to nothing in a .tar.zst."""
    size = (made_bundle / name).stat().st_size
    monkeypatch.setattr(f"secateur.export.runner.{module}", size - 1)
    with pytest.raises(BundleError, match=f"^{name} has {size} bytes, but at most {size - 1} are read"):
        verify(made_bundle, latency=False)


def test_compiled_files_of_the_runner_are_noted(bundle: Path) -> None:
    for name in ("__pycache__/verify.cpython-38.pyc", "sensors/__pycache__/probe.cpython-313.pyc.140213"):
        (bundle / "bundle_runner" / name).parent.mkdir()
        (bundle / "bundle_runner" / name).touch()
    with open_bundle(bundle) as found:
        (note,) = found.notes
        assert "no checksum covers" in note
    (bundle / "bundle_runner" / "__pycache__" / "verify.py").touch()
    with pytest.raises(BundleError, match="does not list it"), open_bundle(bundle):
        pass


def test_what_fails_while_an_archive_is_open_is_not_its_unpacking(contents: Contents, tmp_path: Path) -> None:
    write_bundle(contents, tmp_path / "x.tar")
    with pytest.raises(FileNotFoundError), open_bundle(tmp_path / "x.tar"):
        (tmp_path / "absent").read_bytes()


def test_a_place_that_holds_none(tmp_path: Path) -> None:
    for path, words in ((tmp_path / "absent", "there is no bundle at"), (Path("/dev/null"), "neither a folder nor")):
        with pytest.raises(BundleError, match=words), open_bundle(path):
            pass


def test_an_archive_is_unpacked_for_the_block_alone(contents: Contents, tmp_path: Path) -> None:
    write_bundle(contents, tmp_path / "x.tar.zst")
    with open_bundle(tmp_path / "x.tar.zst") as bundle:
        root = bundle.root
        assert (root / "onnx" / "model.fp32.onnx").is_file()
    assert not root.exists()
