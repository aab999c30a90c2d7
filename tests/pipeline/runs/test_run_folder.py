"""A run's folder is marked, and nothing of the user's in another one, or behind a link, is touched."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from secateur.core.errors import RunError
from secateur.core.files import write_json
from secateur.pipeline.runs.manifest import read_manifest
from secateur.pipeline.runs.recipe import make_recipe, read_recipe
from secateur.pipeline.runs.run_folder import RUN, SWEEP, Kind, check_free, claim, is_ours
from secateur.pipeline.runs.runner import open_run, run_stages
from secateur.pipeline.runs.sweep import sweep
from tests.pipeline.cli.conftest import RECIPE

KINDS = pytest.mark.parametrize("kind", [RUN, SWEEP], ids=["run", "sweep"])


def content_of(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, with its bytes."""
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@KINDS
def test_an_empty_folder_becomes_ours_and_stays_so(kind: Kind, tmp_path: Path) -> None:
    for folder in (tmp_path / "new" / "deep", tmp_path / "empty"):
        assert not is_ours(folder, kind)
        claim(folder, kind)
        (folder / "anything").write_text("ours")
        claim(folder, kind)
        assert is_ours(folder, kind)


@KINDS
def test_one_that_was_made_before_there_were_markers_is_known(kind: Kind, tmp_path: Path) -> None:
    write_json(tmp_path / kind.old, kind.schema, {})
    (tmp_path / "report.html").touch()
    claim(tmp_path, kind)
    assert (tmp_path / kind.marker).is_file()


@KINDS
@pytest.mark.parametrize(
    "theirs", ["recipe.yaml", ".git/HEAD", ".cache/x", "photo.jpg", "model/model.safetensors", ".DS_Store", ".lock"]
)
def test_a_folder_of_others_is_refused_untouched(kind: Kind, theirs: str, tmp_path: Path) -> None:
    path = tmp_path / theirs
    path.parent.mkdir(exist_ok=True)
    path.write_text("theirs")
    before = content_of(tmp_path)
    with pytest.raises(RunError, match=f"holds no {kind.mark} .*{theirs.partition('/')[0]}.*--out"):
        claim(tmp_path, kind)
    assert content_of(tmp_path) == before


@pytest.mark.parametrize("schema", ["secateur.bench/1", "web"])
def test_another_file_of_the_name_is_no_manifest(schema: str, tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text(f'{{"schema": "{schema}", "stages": {{}}}}')
    with pytest.raises(RunError, match="holds no run"):
        check_free(tmp_path, RUN)


def test_a_start_that_was_killed_is_begun_again(tmp_path: Path) -> None:
    (tmp_path / ".lock").touch()
    (tmp_path / "..secateur-run.secateur-0123456789abcdef.part").write_text("{")
    claim(tmp_path, RUN)
    assert is_ours(tmp_path, RUN)


def test_what_is_no_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    for name in ("file", "dangling"):
        with pytest.raises(RunError, match="is no folder"):
            check_free(tmp_path / name, RUN)


@pytest.mark.parametrize("name", ["figures", "model/model.safetensors", ".lock", "engines/cpu"])
@pytest.mark.parametrize("where", ["outside", "absent", "circle"])
def test_a_link_that_leads_out_is_refused(name: str, where: str, tmp_path: Path) -> None:
    folder, link = tmp_path / "run", tmp_path / "run" / name
    (tmp_path / "outside").mkdir()
    claim(folder, RUN)
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(link if where == "circle" else tmp_path / where)
    with pytest.raises(RunError, match=rf"{name} is a link that leads out"):
        claim(folder, RUN)


def test_links_inside_and_to_the_folder_itself_are_fine(tmp_path: Path) -> None:
    claim(tmp_path / "disk" / "run", RUN)
    (tmp_path / "disk" / "run" / "latest").symlink_to("plan.json")
    (tmp_path / "run").symlink_to(tmp_path / "disk" / "run")
    claim(tmp_path / "run", RUN)


def test_out_on_the_folder_of_the_recipe_leaves_the_users_files(tmp_path: Path) -> None:
    recipe = make_recipe(RECIPE, "the test")
    (tmp_path / "recipe.yaml").write_text(recipe.to_yaml())
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.safetensors").write_bytes(b"the user's")
    (tmp_path / "plan.json").write_text("the user's")
    before = content_of(tmp_path)
    with pytest.raises(RunError, match="holds no run"):
        open_run(tmp_path, read_recipe(tmp_path / "recipe.yaml"))
    with pytest.raises(RunError, match="holds no run"):
        run_stages(open_run(tmp_path))  # as `secateur plan FOLDER` does
    with pytest.raises(RunError, match="holds no sweep"):
        sweep(tmp_path / "recipe.yaml", [0.5], tmp_path)
    assert content_of(tmp_path) == before


def test_a_linked_lock_is_not_emptied(finished: Path, tmp_path: Path) -> None:
    folder, theirs = tmp_path / "run", tmp_path / "theirs"
    shutil.copytree(finished, folder)
    theirs.write_text("theirs")
    (folder / ".lock").unlink()
    (folder / ".lock").symlink_to(theirs)
    with pytest.raises(RunError, match="is a link"):
        run_stages(open_run(folder))
    assert theirs.read_text() == "theirs"


def test_only_our_own_leftovers_are_removed(finished: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(finished, folder)
    ours = [folder / ".plan.json.secateur-0123456789abcdef.part", folder / "figures/.a.secateur-0123456789abcdef.part"]
    external = folder / ".model.onnx.secateur-0123456789abcdef.part"  # a graph with its weights beside it
    theirs = [
        *(folder / name for name in (".download.mp4.part", ".git/.pack-1.part", "notes/.x.part", "x.part")),
        folder / ".git" / ".x.secateur-0123456789abcdef.part",
        folder / ".x.secateur-0123.part",
    ]
    for path in (*ours, *theirs, external / "model.onnx.data"):
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_text("half")
    (folder / ".link.secateur-0123456789abcdef.part").symlink_to(folder / "notes")
    run_stages(open_run(folder), until="plan")
    assert not [path for path in (*ours, external) if path.exists()]
    assert not (folder / ".link.secateur-0123456789abcdef.part").is_symlink()
    assert all(path.exists() for path in theirs)


@pytest.mark.parametrize("name", ["../theirs", "/etc/hostname", "model/../../theirs", ""])
def test_a_manifest_names_no_file_outside(name: str, finished: Path, tmp_path: Path) -> None:
    entry = {"inputs": "", "outputs": {name: "0" * 64}, "seconds": 1, "versions": {}, "seed": 0}
    write_json(tmp_path / "manifest.json", "manifest", {"stages": {"plan": entry}})
    with pytest.raises(RunError, match="outputs are files inside the folder"):
        read_manifest(tmp_path)
