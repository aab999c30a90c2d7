"""Which nodes of a session of ONNX Runtime run on which execution provider, as its own profile of one run says.

A session whose first provider is the one that was asked for may still give single nodes to the CPU, for which the
provider has no kernel; copies to and fro come with each. Shapes and indices are computed there on purpose.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from secateur.benchmarks.runners import engine_runner
from secateur.core.errors import BenchError
from secateur.core.input_spec import InputSpec
from secateur.export.ort_engine import INTEGER_PRODUCTS, PRODUCTS, PROVIDERS, OrtEngine

SUFFIX = "_kernel_time"
SMALL_BYTES = 1024
"""What a node writes on shapes and indices is less than this; one that writes more, or multiplies, matters."""


@dataclass(frozen=True)
class Placed:
    """How many nodes run on each provider, and those that matter and run on another one than was asked for."""

    nodes: Mapping[str, int] = field(default_factory=dict)
    elsewhere: tuple[str, ...] = ()


def placed_nodes(graph: Path, device: str, called_with: InputSpec | None = None) -> Placed:
    """Where the nodes of `graph` run in a session on `device`, by one run of one image with random values.

    Raises what `OrtEngine` does, and `BenchError` where the profile names no node.
    """
    with TemporaryDirectory() as folder:
        engine = OrtEngine(graph, device, threads=1, profile=Path(folder) / "profile")
        with closing(engine_runner(engine, called_with=called_with)) as runner:
            runner.run()
            runner.wait()
            events = json.loads(engine.end_profile().read_text())
    return placed_in(events, PROVIDERS[device])


def placed_in(events: Iterable[Mapping[str, Any]], asked: str) -> Placed:
    """What the events of a profile say, each node once; `asked` is the provider that was asked for."""
    found: dict[tuple[str, object], Mapping[str, Any]] = {}  # names alone need not differ
    for event in events:
        name = str(event.get("name", ""))
        if event.get("cat") == "Node" and name.endswith(SUFFIX) and "provider" in event.get("args", {}):
            found[name.removesuffix(SUFFIX), event["args"].get("node_index")] = event["args"]
    if not found:
        raise BenchError("the profile of ONNX Runtime names no node with its provider: use another version of it")
    elsewhere = (
        f"{args.get('op_name', 'a node')} {name} on {args['provider']}"
        for (name, _), args in found.items()
        if args["provider"] != asked and _matters(args)
    )
    return Placed(dict(Counter(str(args["provider"]) for args in found.values())), tuple(elsewhere))


def _matters(args: Mapping[str, Any]) -> bool:
    return args.get("op_name") in PRODUCTS | INTEGER_PRODUCTS or int(args.get("output_size", 0)) >= SMALL_BYTES
