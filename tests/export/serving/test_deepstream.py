"""Gst-nvinfer's configuration: its own formula on photographs gives the logits of our preprocessing."""

from __future__ import annotations

import re
from configparser import ConfigParser
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from secateur.core.errors import ExportError
from secateur.core.input_spec import InputSpec
from secateur.export.graph_types import read_graph
from secateur.export.inside import put_inside
from secateur.export.notes import deployment_notes, graph_notes
from secateur.export.parity import noted_inputs, runnable
from secateur.export.preprocessing import Preprocessing
from secateur.export.serving import deepstream
from secateur.export.serving.deepstream import write_deepstream
from tests.export.conftest import needs_ort
from tests.export.serving.conftest import CLASSES, RULE
from tests.export.test_inside import pictures

pytestmark = needs_ort
EVEN = Preprocessing((3, 8, 8), (0.5, 0.4, 0.3), (0.5,) * 3, crop_pct=1.0, crop_mode="squash")


def noted(source: Path, path: Path, rule: Preprocessing) -> Path:
    content = read_graph(source)
    del content.metadata_props[:]
    for key, value in deployment_notes(rule, CLASSES).items():
        content.metadata_props.add(key=f"secateur.{key}", value=value)
    onnx.save(content, path)
    return path


def logits_by_nvinfer(folder: Path, rule: Preprocessing) -> tuple[np.ndarray, np.ndarray, ConfigParser]:
    """What the files in `folder` give by the formula in nvinfer's documentation, the pictures, and the keys."""
    config = ConfigParser()
    config.read(folder / "config_infer.txt")
    keys = config["property"]
    pixels = pictures(3, *rule.shape[1:])
    x = pixels.astype(np.float32).transpose(0, 3, 1, 2)
    mean = np.array([float(word) for word in keys["offsets"].split(";")], np.float32).reshape(-1, 1, 1)
    y = np.float32(keys["net-scale-factor"]) * (x - mean)
    (found,) = runnable(folder / keys["onnx-file"]).run(None, {"input": y})
    return found, pixels, config


@pytest.mark.parametrize("rule", [RULE, EVEN], ids=["three deviations", "one deviation"])
def test_a_stem_that_pads(rule: Preprocessing, cnn_onnx: Path, tmp_path: Path) -> None:
    graph = noted(cnn_onnx, tmp_path / "model.onnx", rule)
    assert write_deepstream(tmp_path / "out", graph, 4) == ("model.onnx", "labels.txt", "config_infer.txt")
    found, pixels, config = logits_by_nvinfer(tmp_path / "out", rule)
    (wanted,) = runnable(graph).run(None, {"input": rule.normalised(pixels)})
    assert np.abs(found - wanted).max() <= 1e-5 * np.abs(wanted).max()
    written = read_graph(tmp_path / "out" / "model.onnx")
    operations = [[node.op_type for node in one.graph.node] for one in (read_graph(graph), written)]
    assert operations[0] == operations[1]  # the factors cost nothing
    assert (graph_notes(written, "out").preprocessing is None) == (rule is RULE)  # it takes other values there
    keys = dict(config["property"])
    assert {key: keys[key] for key in ("batch-size", "infer-dims", "model-color-format", "network-mode")} == {
        "batch-size": "4",
        "infer-dims": "3;8;8",
        "model-color-format": "0",
        "network-mode": "0",
    }
    assert (keys["network-type"], keys["output-tensor-meta"]) == ("100", "1")
    assert keys["model-engine-file"] == "model.onnx_b4_gpu0_fp32.engine"
    assert (tmp_path / "out" / keys["labelfile-path"]).read_text() == 'cat;d"og;b ird;ox,en\n'
    crops = "accuracy was measured on a center crop of 87.5%" in (tmp_path / "out/config_infer.txt").read_text()
    assert crops == (rule is RULE)


def test_patches_in_fp16(onnx_files: dict[str, Path], tmp_path: Path) -> None:
    rule = Preprocessing((3, 32, 32), RULE.mean, RULE.std)
    graph = noted(onnx_files["fp16"], tmp_path / "model.onnx", rule)
    write_deepstream(tmp_path / "out", graph)
    found, pixels, config = logits_by_nvinfer(tmp_path / "out", rule)
    (wanted,) = runnable(graph).run(None, {"input": rule.normalised(pixels)})
    assert np.abs(found - wanted).max() <= 1e-2 * np.abs(wanted).max()
    assert config["property"]["network-mode"] == "2"


@pytest.mark.parametrize("precision", ["fp32", "fp16"])  # centred in the stem that pads, kept in half
def test_a_graph_that_normalises_itself_gets_planar_pixels(
    precision: str, cnn_onnx: Path, onnx_files: dict[str, Path], tmp_path: Path
) -> None:
    size = 8 if precision == "fp32" else 32
    rule = Preprocessing((3, size, size), RULE.mean, RULE.std)
    outside = noted(cnn_onnx if precision == "fp32" else onnx_files[precision], tmp_path / "outside.onnx", rule)
    put_inside(outside, tmp_path / "model.onnx", rule)
    write_deepstream(tmp_path / "out", tmp_path / "model.onnx")
    found, pixels, config = logits_by_nvinfer(tmp_path / "out", rule)
    (wanted,) = runnable(outside).run(None, {"input": rule.normalised(pixels)})
    assert np.abs(found - wanted).max() <= (1e-5 if precision == "fp32" else 1e-2) * np.abs(wanted).max()
    keys = config["property"]
    assert (keys["net-scale-factor"], keys["offsets"]) == ("1.0", "0.0;0.0;0.0")
    assert noted_inputs(read_graph(tmp_path / "out" / "model.onnx")) == InputSpec.shaped((3, size, size))
    notes = graph_notes(read_graph(tmp_path / "out" / "model.onnx"), "out")
    assert notes.preprocessing is None and [str(one) for one in notes.inputs] == [
        f"input float32 [batch, 3, {size}, {size}]"
    ]


def test_a_forgotten_factor_is_noticed(cnn_onnx: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deepstream, "rescale", lambda program, factors: None)
    with pytest.raises(ExportError, match=r"^with nvinfer's normalisation, model.onnx gives another 'logits'"):
        write_deepstream(tmp_path / "out", noted(cnn_onnx, tmp_path / "model.onnx", RULE))


def test_graphs_that_nvinfer_cannot_feed_are_refused(
    cnn_onnx: Path, onnx_files: dict[str, Path], tmp_path: Path
) -> None:
    mislabelled = noted(cnn_onnx, tmp_path / "mislabelled.onnx", replace(RULE, inside=True))
    wide = Preprocessing((3, 32, 32), RULE.mean, RULE.std)
    for words, path in (
        ("does not say how pictures become its input", cnn_onnx),
        ("takes input float32 [batch, 3, 8, 8], but nvinfer hands over one image", mislabelled),
        ("is in bf16, but nvinfer knows fp32, int8, fp16", noted(onnx_files["bf16"], tmp_path / "bf16.onnx", wide)),
    ):
        with pytest.raises(ExportError, match=re.escape(words)):
            write_deepstream(tmp_path / "out", path)
    assert not (tmp_path / "out").exists()
