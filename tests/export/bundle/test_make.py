"""Bundles as they are written: the same bytes twice, everything in its place, nothing of others overwritten."""

from __future__ import annotations

import dataclasses
import json
import tarfile
from pathlib import Path

import onnx
import pytest

from secateur.core.errors import ExportError
from secateur.export.bundle.contents import Contents, EngineOf, GraphOf, Picture
from secateur.export.bundle.make import files_of, runner_files, write_bundle
from secateur.export.onnx_info import onnx_info
from secateur.export.runner.errors import BundleError
from secateur.export.runner.manifest import NAME, parse_manifest
from secateur.export.runner.verify import verify
from tests.export.conftest import needs_ort

pytestmark = needs_ort


def contents_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_folder_and_an_archive_hold_the_same_and_twice_the_same(
    contents: Contents, made_bundle: Path, tmp_path: Path
) -> None:
    files, manifest = files_of(contents)
    assert contents_of(made_bundle) == {
        name: source if isinstance(source, bytes) else source.read_bytes() for name, source in files.items()
    }
    assert list(files) == [NAME, *sorted(set(files) - {NAME})]
    assert parse_manifest(files[NAME]) == manifest  # type: ignore[arg-type]
    for name in ("a.tar.zst", "b.tar.zst"):
        write_bundle(contents, tmp_path / name)
    assert (tmp_path / "a.tar.zst").read_bytes() == (tmp_path / "b.tar.zst").read_bytes()


def test_what_is_in_it(made_bundle: Path) -> None:
    found = contents_of(made_bundle)
    assert {"onnx/model.fp32.onnx", "onnx/model.fp16.onnx", "dense/model.fp32.onnx"} <= set(found)
    assert found["engines/tensorrt_rtx-sm_86/model.engine"] == b"plan"
    assert json.loads(found["labels.json"])["classes"] == ["cat", "dog", "eel"]
    assert json.loads(found["labels.json"])["activation"] == "softmax"
    assert {"golden/image.2.png", "golden/outputs.fp16.0.npy", "licences/model.txt", "README.md"} <= set(found)
    runner = {name: data for name, data in found.items() if name.startswith("bundle_runner/")}
    assert runner == runner_files() and "bundle_runner/__main__.py" in runner


def test_an_earlier_bundle_is_replaced_and_other_things_are_not(
    contents: Contents, bundle: Path, tmp_path: Path
) -> None:
    (bundle / "labels.json").write_text("old")
    write_bundle(contents, bundle)
    assert b"cat" in (bundle / "labels.json").read_bytes()
    (tmp_path / "mine").mkdir()
    write_bundle(contents, tmp_path / "mine")
    (tmp_path / "mine" / NAME).unlink()
    with pytest.raises(ExportError, match="is a folder with other things in it"):
        write_bundle(contents, tmp_path / "mine")
    (tmp_path / "mine" / NAME).write_text('{"files": []}')  # of another program
    with pytest.raises(ExportError, match="is a folder with other things in it"):
        write_bundle(contents, tmp_path / "mine")
    (bundle / "labels.json.mine").write_text("notes")
    with pytest.raises(ExportError, match=r"other things in it \(labels.json.mine\): choose another --out"):
        write_bundle(contents, bundle)
    assert (bundle / "labels.json.mine").read_text() == "notes"
    (bundle / "labels.json.mine").unlink()
    (tmp_path / "x.tar").mkdir()
    with pytest.raises(ExportError, match="choose another --out"):
        write_bundle(contents, tmp_path / "x.tar")
    for name in ("x.tar.gz", "x.zip", "x.zst", "X.TAR.ZST"):
        with pytest.raises(ExportError, match=r"end it in .tar or .tar.zst"):
            write_bundle(contents, tmp_path / name)
    (tmp_path / "file").touch()
    with pytest.raises(ExportError, match="cannot write"):
        write_bundle(contents, tmp_path / "file" / "below")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "linear", "mine", "x.tar"]


def test_an_earlier_bundle_stays_until_the_new_one_is_whole(
    contents: Contents, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, real = contents_of(bundle), Path.replace
    (tmp_path / "link").symlink_to(bundle)
    (bundle / "bundle_runner" / "__pycache__").mkdir()
    (bundle / "bundle_runner" / "__pycache__" / "verify.cpython-311.pyc").touch()

    def failing(self: Path, target: Path) -> Path:
        if self.suffix == ".part":
            raise OSError(28, "No space left on device")
        return real(self, target)

    monkeypatch.setattr(Path, "replace", failing)
    other = dataclasses.replace(contents, licences={"model.txt": "Not free.\n"})
    with pytest.raises(ExportError, match=r"cannot write .*No space left"):
        write_bundle(other, bundle)
    monkeypatch.undo()
    (bundle / "bundle_runner" / "__pycache__" / "verify.cpython-311.pyc").unlink()
    (bundle / "bundle_runner" / "__pycache__").rmdir()
    assert contents_of(bundle) == before
    write_bundle(other, tmp_path / "link")
    assert contents_of(bundle)["licences/model.txt"] == b"Not free.\n" and (tmp_path / "link").is_symlink()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["linear", "link"]


@pytest.mark.parametrize("ending", [".tar", ".tar.zst"])
def test_an_earlier_archive_is_replaced_and_other_files_are_not(
    ending: str, contents: Contents, bundle: Path, tmp_path: Path
) -> None:
    place = tmp_path / f"mine{ending}"
    place.touch()
    write_bundle(contents, place)
    first = place.read_bytes()
    write_bundle(contents, place)
    assert place.read_bytes() == first
    with tarfile.open(tmp_path / "photos.tar", "w", format=tarfile.USTAR_FORMAT) as tar:
        tar.add(bundle / "labels.json", "bundle/labels.json")
    other, text = tmp_path / f"photos{ending}", tmp_path / f"notes{ending}"
    (tmp_path / "photos.tar").rename(other)
    text.write_text("my notes")
    for file in (other, text):
        before = file.read_bytes()
        with pytest.raises(ExportError, match="is there and is no bundle: choose another --out, or remove it"):
            write_bundle(contents, file)
        assert file.read_bytes() == before


def test_weights_in_a_file_of_their_own_go_along(contents: Contents, tmp_path: Path) -> None:
    """As those of graphs above 2 GiB do; the bundle runs with them, and is damaged without."""
    (graph,) = (one for one in contents.graphs if one.pruned.precision == "fp32")
    model = onnx.load(graph.pruned.path)
    path, weights = tmp_path / "model.onnx", "model.onnx.data"
    onnx.save(model, path, save_as_external_data=True, location=weights, size_threshold=0)
    apart = dataclasses.replace(contents, graphs=[GraphOf(onnx_info(path, weights))], engines=[])
    manifest = write_bundle(apart, tmp_path / "apart.tar")
    assert f"onnx/{weights}" in manifest.files
    assert manifest.files[f"onnx/{weights}"].size_bytes == (tmp_path / weights).stat().st_size
    found = verify(tmp_path / "apart.tar", latency=False)
    assert ("golden", "onnxruntime:cpu", "pass") in [(one.name, one.where, one.outcome) for one in found.checks]
    write_bundle(apart, tmp_path / "folder")
    (tmp_path / "folder" / "onnx" / weights).unlink()
    with pytest.raises(BundleError, match=rf"onnx/{weights} is missing"):
        verify(tmp_path / "folder", latency=False)


def test_contents_that_no_bundle_can_hold(contents: Contents) -> None:
    odd = dataclasses.replace(contents, pictures=[Picture(b"", ".p g"), *contents.pictures[1:]])
    with pytest.raises(ExportError, match="cannot go into a bundle"):
        files_of(odd)
    engine = dataclasses.replace(contents.engines[0].pruned, precision="int8")
    with pytest.raises(ExportError, match="is in int8, of which there is no graph"):
        files_of(dataclasses.replace(contents, engines=[EngineOf(engine)]))


def test_more_golden_images_than_a_device_reads_are_refused(
    contents: Contents, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("secateur.export.bundle.make.MOST_BYTES", 200)
    with pytest.raises(
        ExportError, match=r"3 golden images have \d+ bytes as \[3, 1, 4, 4\], .* at most 200: take fewer"
    ):
        files_of(contents)


@pytest.mark.parametrize("side", ["pruned", "dense"])
def test_an_engine_that_only_secateur_can_load_is_refused(contents: Contents, side: str) -> None:
    plain = contents.engines[0].pruned
    python = dataclasses.replace(plain, runtime="tensorrt", runtime_version="10.3.0", plugin="python")
    pair = EngineOf(python) if side == "pruned" else EngineOf(plain, python)
    with pytest.raises(ExportError, match=r"cannot go into a bundle: .* TensorRT 10\.9 and newer, or over ssh"):
        files_of(dataclasses.replace(contents, engines=[pair]))
    holds_ptx = EngineOf(dataclasses.replace(plain, plugin="ahead of time"))
    assert files_of(dataclasses.replace(contents, engines=[holds_ptx]))[1].engines


def test_the_dense_engine_lies_beside_to_compare_with(contents: Contents) -> None:
    info = contents.engines[0].pruned
    files, manifest = files_of(dataclasses.replace(contents, engines=[EngineOf(info, info)]))
    assert manifest.engines[0].dense == "dense/engines/tensorrt_rtx-sm_86/model.engine"
    assert manifest.engines[0].dense in files
