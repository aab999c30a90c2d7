"""evidence.json: what was measured of the bundle's model and of the dense one, with raw samples and the machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Mapping

from .errors import BundleError
from .fields import Fields, number_of, read_object, text_of
from .machine import MOST_THREADS, Here
from .manifest import EVIDENCE

SCHEMA = "secateur.evidence/1"


@dataclass(frozen=True)
class Metric:
    """What both models reach on `images` held-out images; `low` to `high` is the 95 % interval of the pruned one's.

    Only of a share of images is there an interval; it is None for other metrics.
    """

    name: str
    unit: str
    dense: float
    pruned: float
    images: int | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Cost:
    """A cost of both models; None where it is not known."""

    dense: int | None
    pruned: int | None


@dataclass(frozen=True)
class Latency:
    """Raw samples in milliseconds, of blocks A B B A, and the ratio dense over pruned with its 95 % interval."""

    batch: int
    dense_ms: tuple[float, ...]
    pruned_ms: tuple[float, ...]
    ratio: float
    low: float
    high: float


@dataclass(frozen=True)
class Machine:
    """Where the latencies were measured; `gpu` and `capability` are empty without a GPU."""

    cpu_model: str
    threads: int
    platform: str
    gpu: str
    capability: str
    os: str
    python: str
    versions: Mapping[str, str]

    def differences(self, here: Here, target: str) -> str:
        """What makes this machine one of another kind for a target, as a phrase; empty where nothing does."""
        runs_on_cpu = target.partition("@")[0] == "onnxruntime:cpu"
        mine = (self.cpu_model, self.platform) if runs_on_cpu else (self.gpu, self.capability)
        its = (here.cpu_model, here.platform) if runs_on_cpu else (here.gpu, here.capability)
        return (
            "" if mine == its else f"measured on {' '.join(mine) or 'no GPU'}, and this is {' '.join(its) or 'no GPU'}"
        )


@dataclass(frozen=True)
class Evidence:
    """evidence.json; latencies by target, precision and batch (`onnxruntime:cpu@fp16`, `onnxruntime:cpu@b8`)."""

    metrics: tuple[Metric, ...]
    macs: Cost
    params: Cost
    size_bytes: Cost
    latency: Mapping[str, Latency]
    machine: Machine

    def latency_of(self, key: str) -> Latency | None:
        """The latency of an engine by its key, at the smallest batch that was measured; None where there is none."""
        found = [one for name, one in self.latency.items() if name == key or name.startswith(f"{key}@b")]
        return min(found, key=lambda one: one.batch, default=None)


def parse_evidence(data: bytes) -> Evidence:
    """What an evidence.json says; raises `BundleError` with the first thing in it that is wrong."""
    fields = read_object(data, EVIDENCE, SCHEMA)
    found = Evidence(
        metrics=fields.items("metrics", _metric, 100),
        macs=_cost(fields.inner("macs")),
        params=_cost(fields.inner("params")),
        size_bytes=_cost(fields.inner("size_bytes")),
        latency=fields.named("latency", _latency, 1000),
        machine=_machine(fields.inner("machine")),
    )
    fields.end()
    return found


def _metric(value: Any, where: str) -> Metric:
    fields = Fields(value, where)
    found = Metric(
        name=fields.text("name"),
        unit=fields.text("unit"),
        dense=fields.number("dense"),
        pruned=fields.number("pruned"),
        images=fields.maybe("images", fields.count),
        low=fields.maybe("low", fields.number),
        high=fields.maybe("high", fields.number),
    )
    fields.end()
    return found


def _cost(fields: Fields) -> Cost:
    found = Cost(fields.maybe("dense", fields.count), fields.maybe("pruned", fields.count))
    fields.end()
    return found


def _latency(value: Any, where: str) -> Latency:
    fields = Fields(value, where)
    found = Latency(
        batch=fields.count("batch", 1 << 20, 1),
        dense_ms=fields.items("dense_ms", number_of),
        pruned_ms=fields.items("pruned_ms", number_of),
        ratio=fields.number("ratio", 1e-6, 1e6),
        low=fields.number("low", 1e-6, 1e6),
        high=fields.number("high", 1e-6, 1e6),
    )
    fields.end()
    if not found.low <= found.ratio <= found.high:
        raise BundleError(f"{where}: the ratio {found.ratio} is not within {found.low} to {found.high}")
    return found


def _machine(fields: Fields) -> Machine:
    found = Machine(
        cpu_model=fields.text("cpu_model"),
        threads=fields.count("threads", MOST_THREADS, 1),
        platform=fields.text("platform"),
        gpu=fields.text("gpu"),
        capability=fields.text("capability"),
        os=fields.text("os"),
        python=fields.text("python"),
        versions=fields.named("versions", text_of, 100),
    )
    fields.end()
    return found
