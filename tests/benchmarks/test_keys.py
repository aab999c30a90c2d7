"""Keys of latencies: made of a target and a batch, and taken apart again."""

from __future__ import annotations

from secateur.benchmarks.keys import latency_key, split_key


def test_keys() -> None:
    assert latency_key("tensorrt_rtx:sm_86", 8, [8]) == "tensorrt_rtx:sm_86"
    assert latency_key("tensorrt_rtx:sm_86", 8, [1, 8]) == "tensorrt_rtx:sm_86@b8"
    assert split_key("tensorrt_rtx:sm_86@b8") == ("tensorrt_rtx:sm_86", 8)
    assert split_key("torch:cpu") == ("torch:cpu", None)
    assert split_key("tensorrt@fp16@b8") == ("tensorrt@fp16", 8)
    assert split_key("tensorrt@fp16") == ("tensorrt@fp16", None)
    assert split_key("tensorrt@fp16@concurrent:4@b8") == ("tensorrt@fp16@concurrent:4", 8)
