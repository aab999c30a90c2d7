"""The table of layers fits a terminal of 80 columns, and what explains a layer is told below it."""

from __future__ import annotations

import pytest

from secateur.pipeline.cli.layers_table import print_layers, sentences
from tests.benchmarks.layers.planted import profile, row

LONG = "stages.3.blocks.11.attention.output.projection"


def test_the_table_fits_80_columns(capsys: pytest.CaptureFixture[str]) -> None:
    gone = row("gone", macs_pruned=0, bytes_pruned=0, ms_pruned=0.0, ratio=None, low=None, high=None)
    big = row(
        LONG,
        macs_dense=123_456_789_000,
        macs_pruned=98_765_432_100,
        bytes_pruned=123_456_789,
        ms_dense=1234.5,
        ms_pruned=987.6,
        ratio=12.3,
        high=14.0,
    )
    free = row("[red]", macs_dense=0, macs_pruned=0, ms_pruned=0.00062, reason="[bold] words")
    print_layers(profile(row(), gone, big, free))
    head, *lines = capsys.readouterr().out.splitlines()
    assert head == "onnxruntime:cpu, batch 1: 2.000 ms dense, 1.500 ms pruned, 1.33 [1.30, 1.40] "
    table = [line.split() for line in lines[1:6]]
    assert max(map(len, lines[1:6])) <= 80
    assert lines[6] == "[red]: [bold] words"
    assert table == [
        ["layer", "(times", "in", "ms)", "MMACs", "kept", "MACs/B", "share", "dense", "pruned", "ratio", "[95", "%]"],
        ["blocks.0.mlp.fc1", "0.001", "50%", "2", "0.1%", "0.9", "0.6", "1.50", "[1.40,", "1.60]"],
        ["gone", "0.001", "0%", "0.0%", "0.9", "0"],
        [f"…{LONG[-18:]}", "123,457", "80%", "800", "99.9%", "1,234", "988", "12", "[1.40,", "14]"],
        ["[red]", "0.0%", "0.9", "6.2e-04", "1.50", "[1.40,", "1.60]"],
    ]


def test_what_is_told_below() -> None:
    assert list(sentences(profile(row(), row("head", reason="too small")))) == [
        "head: too small",
        "roofline: 1 GMACs/s, 0.1 GB/s, ridge at 10 MACs/B (planted)",
        "note: a note",
    ]
