"""ONNX Runtime's profiler: what it really runs, and which nodes of the exported graph each operation stands for.

The graph is optimised once and written to a file, its operations get a number each, and that file is run as it is:
names in a profile are unique then, and what lies between the operations is known.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from secateur.benchmarks.layers.graph_work import WHOLE, GraphWork
from secateur.benchmarks.layers.operations import Array, LayerTimes, Operation, graph_operation
from secateur.benchmarks.runners import engine_runner
from secateur.core.errors import BenchError
from secateur.core.input_spec import InputSpec
from secateur.export.graph_types import read_graph
from secateur.export.ort_engine import OrtEngine, open_session

if TYPE_CHECKING:
    import onnx

NCHWC = "com.microsoft.nchwc"
"""The domain of ONNX Runtime's operations on channels in blocks of 8 or 16."""

COUNTED = ("cpu", "cuda")
"""The devices whose operations are profiled one by one; the others run a whole graph as one operation."""


MOST_EVENTS = 150_000
"""Events that a profile may have: each is half a kilobyte of JSON."""

COARSE = "ONNX Runtime's profiler counts whole microseconds: layers of less than 0.01 ms are coarse"


class OrtLayers:
    """A graph under ONNX Runtime's profiler (see `operations.Profiled`); its files go into `folder`."""

    def __init__(
        self,
        graph: Path,
        work: GraphWork,
        device: str,
        batch: int,
        threads: int | None,
        folder: Path,
        called_with: InputSpec | None = None,
    ) -> None:
        if device not in COUNTED:
            raise BenchError(
                f"onnxruntime:{device} runs a graph as one operation, so its layers cannot be told apart: profile "
                f"{device if device != 'tensorrt_rtx' else 'an engine of it'}, or one of "
                f"{', '.join(f'onnxruntime:{one}' for one in COUNTED)}"
            )
        import onnx

        folder.mkdir(parents=True)
        open_session(graph, device, threads, folder / "optimised.onnx")
        optimised = read_graph(folder / "optimised.onnx")
        self._operations = fused_operations(work, optimised)
        self.recorded = 0
        self.notes = (COARSE, *work.notes)
        self.most_runs = max(1, MOST_EVENTS // max(1, len(self._operations)))
        for number, node in enumerate(optimised.graph.node):
            node.name = str(number)
        onnx.save(optimised, folder / "numbered.onnx")
        numbered, profile = folder / "numbered.onnx", folder / "profile"
        self._engine = OrtEngine(numbered, device, threads, profile=profile, as_written=True)
        self._runner = engine_runner(self._engine, batch, called_with=called_with)

    def run(self) -> None:
        """Runs once, which is recorded."""
        self._runner.run()
        self._runner.wait()
        self.recorded += 1

    def recording(self) -> AbstractContextManager[object]:
        """The profiler is always on."""
        return nullcontext()

    def finish(self) -> LayerTimes:
        """What the profile says; raises `BenchError` where it is not whole."""
        content = json.loads(self._engine.end_profile().read_text())
        return times_of(content, self._operations)

    def close(self) -> None:
        """Ends the session."""
        self._runner.close()


def times_of(events: Sequence[Mapping[str, object]], operations: Sequence[Operation]) -> LayerTimes:
    """The times of all runs in a profile, and who ran each operation.

    The operations of a run stand in the profile before the event of the run itself. Raises `BenchError` where a run
    lacks one, as in a profile that has become too long.
    """
    runs: list[Array] = []
    taken, providers = np.zeros(len(operations)), [""] * len(operations)
    seen = np.zeros(len(operations), dtype=bool)
    for event in events:
        name, what = str(event["name"]), event.get("args")
        if event.get("cat") == "Node" and name.endswith("_kernel_time") and isinstance(what, Mapping):
            place = int(name.removesuffix("_kernel_time"))
            taken[place] += float(str(event["dur"])) / 1e3
            providers[place], seen[place] = str(what.get("provider", "")), True
        elif name == "model_run":
            if not seen.all():
                missing = next(one.name for one, there in zip(operations, seen, strict=True) if not there)
                raise BenchError(
                    f"the profile of ONNX Runtime lacks {missing!r} in run {len(runs) + 1}: measure for fewer --seconds"
                )
            runs.append(taken)
            taken, seen = np.zeros(len(operations)), np.zeros(len(operations), dtype=bool)
    if not runs:
        raise BenchError("the profile of ONNX Runtime holds no run: measure for more --seconds")
    told = zip(operations, providers, strict=True)
    return LayerTimes(tuple(replace(one, provider=who) for one, who in told), np.stack(runs))


def fused_operations(work: GraphWork, optimised: onnx.ModelProto) -> tuple[Operation, ...]:
    """For each operation of the optimised graph the nodes of the exported one that it stands for, as one operation.

    These are what leads from the tensors that it reads to those that it writes. An operation without any moves a
    tensor: for the layer that made it, or where it is in a new layout for the one that reads that.
    """
    stands_for = _exported_tensors(work, optimised)
    ends = set(stands_for.values()) & work.maker.keys()
    readers = {read: place for place, node in reversed([*enumerate(optimised.graph.node)]) for read in node.input}
    makers: dict[str, int] = {}
    claimed: set[str] = set()
    found: list[Operation] = []
    for node in optimised.graph.node:
        reads = {stands_for.get(tensor, tensor) for tensor in node.input}
        gives = [stands_for[tensor] for tensor in node.output if tensor in stands_for]
        sources = list(_between(work, [tensor for tensor in gives if tensor not in reads], ends | reads, claimed))
        claimed.update(sources)
        blocked = node.domain == NCHWC and "Reorder" not in node.op_type
        name, kind = node.name or node.output[0], f"{node.op_type} (NCHWc)" if blocked else node.op_type
        given_back = node.output[0] in work.maker or node.op_type == "ReorderOutput"
        before = makers.get(node.input[0]) if node.input and given_back else None
        layer = found[before].layer if before is not None else ""
        makers.update(dict.fromkeys(node.output, len(found)))
        found.append(graph_operation(work, name, kind, sources, gives[0] if gives else "", layer))
    for place in reversed(range(len(found))):
        if not found[place].layer:
            reader = next((readers[one] for one in optimised.graph.node[place].output if one in readers), place)
            found[place] = replace(found[place], layer=found[reader].layer or WHOLE)
    return tuple(found)


def _exported_tensors(work: GraphWork, optimised: onnx.ModelProto) -> dict[str, str]:
    """For each tensor of the optimised graph the exported one whose values it has, as far as there is one."""
    found: dict[str, str] = {}
    restored = {
        node.input[0]: _plain(node.output[0])
        for node in optimised.graph.node
        if node.op_type == "ReorderOutput" and _plain(node.output[0]) in work.maker
    }
    for node in optimised.graph.node:
        blocked, fused = _plain(node.name).removesuffix("_nchwc"), node.name.partition("/")[0]
        for place, tensor in enumerate(node.output):
            plain = _plain(tensor)
            if plain in work.maker:
                found[tensor] = plain
            elif tensor in restored:
                found[tensor] = restored[tensor]
            elif plain in work.named:  # a split that stands for slices calls its outputs as these
                found[tensor] = work.named[plain]
            elif place == 0 and blocked != _plain(node.name) and blocked in work.maker:
                found[tensor] = _last_fused(work, node, blocked, found)
            elif place == 0 and fused in work.named:
                found[tensor] = work.named[fused]
            elif place == 0 and node.input:
                found[tensor] = found.get(node.input[0], node.input[0])
    return found


def _plain(name: str) -> str:
    """A name without what ONNX Runtime adds: before it for a cast that it inserts, after it for a second one."""
    return re.sub(r"^InsertedPrecisionFreeCast_|_token_\d+$", "", name)


def _last_fused(work: GraphWork, node: onnx.NodeProto, tensor: str, found: Mapping[str, str]) -> str:
    """The tensor at the end of a convolution in blocks, which is called as its beginning: after what it adds and clips.

    It adds its fourth input, and its attribute `activation` names what follows.
    """
    activation = next((one.s.decode() for one in node.attribute if one.name == "activation"), "")
    adds = found.get(node.input[3], node.input[3]) if len(node.input) > 3 and node.input[3] else ""
    for kind, other in (("Add", adds), (activation, "")):
        for reader in work.readers.get(tensor, ()) if kind else ():
            one = work.nodes[reader]
            if one.kind == kind and (kind != "Add" or other in one.reads):
                tensor = reader
                break
    return tensor


def _between(work: GraphWork, gives: Sequence[str], ends: set[str], claimed: set[str]) -> Iterator[str]:
    """The nodes that lead to the tensors `gives` from others that are run for themselves (`ends`) or are inputs."""
    left, seen = list(gives), set[str]()
    while left:
        key = work.maker.get(left.pop())
        if key is None or key in seen or key in claimed:
            continue
        seen.add(key)
        yield key
        left += [read for read in work.nodes[key].reads if read not in ends]
