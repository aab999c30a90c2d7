"""A stand-in for the builder of the module `tensorrt`, which cannot be installed here: it records how it is used.

Its network is one convolution and one softmax in fp16; DLA runs the convolution alone.
"""

from __future__ import annotations

from enum import Enum, IntEnum
from types import ModuleType, SimpleNamespace
from typing import Any

from tests.export.fake_trt import make_module

Members = Enum("Members", ["HALF"])


class BuilderFlag(IntEnum):
    FP16, TF32, GPU_FALLBACK, VERSION_COMPATIBLE, EXCLUDE_LEAN_RUNTIME = range(5)


class HardwareCompatibilityLevel(Enum):
    NONE, AMPERE_PLUS, SAME_COMPUTE_CAPABILITY = range(3)


class TimingCache:
    def __init__(self, content: bytes) -> None:
        self.content = content

    def serialize(self) -> bytes:
        return self.content + b"+"


class Config:
    """What was set on a builder's configuration."""

    def __init__(self, refuse: str) -> None:
        self.refuse = refuse
        self.flags: set[str] = set()
        self.profile: Any = None
        self.default_device_type, self.DLA_core = "GPU", -1
        self.hardware_compatibility_level = HardwareCompatibilityLevel.NONE
        self.cache: TimingCache | None = None

    def set_flag(self, flag: BuilderFlag) -> None:
        self.flags.add(flag.name)

    def clear_flag(self, flag: BuilderFlag) -> None:
        self.flags.discard(flag.name)

    def create_timing_cache(self, content: bytes) -> TimingCache | None:
        return None if content == b"other" else TimingCache(content)

    def set_timing_cache(self, cache: TimingCache, ignore_mismatch: bool) -> bool:
        self.cache = cache
        return ignore_mismatch

    def add_optimization_profile(self, profile: Any) -> int:
        self.profile = profile
        return 0

    def can_run_on_DLA(self, layer: Any) -> bool:
        assert self.default_device_type == "DLA"
        return layer.name == "conv" and self.refuse != "layers"


def make_builder(version: str = "10.3.0", cores: int = 0, refuse: str = "") -> tuple[ModuleType, list[Any]]:
    """The module, and the networks' flags and configurations that it will have built."""
    trt: Any = make_module(version=version)
    used: list[Any] = []
    half = SimpleNamespace(name="HALF")

    def tensor(name: str, shape: tuple[int, ...]) -> SimpleNamespace:
        return SimpleNamespace(name=name, shape=shape, dtype=half)

    def layer(name: str, kind: str) -> SimpleNamespace:
        one = tensor(name, (-1, 4))
        return SimpleNamespace(
            name=name,
            type=SimpleNamespace(name=kind),
            num_inputs=1,
            num_outputs=1,
            get_input=lambda _: one,
            get_output=lambda _: one,
        )

    layers = [layer("weights", "CONSTANT"), layer("conv", "CONVOLUTION"), layer("softmax", "SOFTMAX")]
    network = SimpleNamespace(
        num_layers=len(layers),
        num_inputs=1,
        num_outputs=1,
        get_layer=lambda index: layers[index],
        get_input=lambda _: tensor("input", (-1, 3, 8, 8)),
        get_output=lambda _: tensor("logits", (-1, 4)),
    )

    class Builder:
        num_DLA_cores = cores

        def __init__(self, logger: Any) -> None:
            self.logger = logger

        def create_network(self, flags: int) -> Any:
            used.append(flags)
            return network

        def create_builder_config(self) -> Config:
            return Config(refuse)

        def create_optimization_profile(self) -> Any:
            sizes: dict[str, Any] = {}
            return SimpleNamespace(sizes=sizes, set_shape=lambda name, *shapes: sizes.update({name: shapes}))

        def build_serialized_network(self, network: Any, config: Config) -> bytes:
            used.append(config)
            return b"plan"

    trt.Builder, trt.BuilderFlag, trt.HardwareCompatibilityLevel = Builder, BuilderFlag, HardwareCompatibilityLevel
    trt.NetworkDefinitionCreationFlag = SimpleNamespace(STRONGLY_TYPED=1)
    trt.OnnxParser = lambda network, logger: SimpleNamespace(parse_from_file=lambda path: True)
    trt.ProfilingVerbosity = SimpleNamespace(DETAILED="detailed")
    trt.DeviceType = SimpleNamespace(DLA="DLA", GPU="GPU")
    trt.nptype = lambda dtype: __import__("numpy").float16
    return trt, used
