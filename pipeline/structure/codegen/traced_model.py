"""The model's graph at the time of a cut: code of modules that repeats numbers of units is taken from it."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from secateur.core.model_inputs import ModelInputs
from secateur.pipeline.structure.codegen.calls import RecordedCall, record_calls
from secateur.pipeline.structure.codegen.module_writer import ModuleWriter
from secateur.pipeline.structure.codegen.sizes import RemainingSizes
from secateur.pipeline.structure.codegen.subgraph import Subgraph
from secateur.pipeline.structure.graph.build_groups import Units
from secateur.pipeline.structure.graph.components import Components
from secateur.pipeline.structure.graph.program import stack_of
from secateur.pipeline.structure.graph.trace import Trace
from secateur.pipeline.structure.groups import Kept


@dataclass(frozen=True, eq=False)
class TracedModel:
    """The model's graph, with what is known of each of its values, and the units that each component belongs to."""

    trace: Trace
    components: Components
    units: Units
    _calls: dict[str, list[RecordedCall]] = field(default_factory=dict)

    def alive(self, kept: Kept) -> Tensor:
        """For each component of labels whether it stays."""
        stays = torch.ones(int(self.components.of_label.max()) + 1, dtype=torch.bool)
        sets = {name: frozenset(units) for name, units in kept.items()}
        for component, memberships in self.units.items():
            stays[component] = all(name not in sets or unit in sets[name] for name, unit in memberships)
        return stays

    def own_code(self, module: str) -> bool:
        """Whether the forward function of a module computes anything itself, not only its children."""
        return any(stack and stack[-1][1] == module for stack in map(stack_of, self.trace.values))

    def replaced(
        self, name: str, small: nn.Module, dense: nn.Module, example: ModelInputs, kept: Kept
    ) -> nn.Module | None:
        """The module `name` of `small` as traced code of the new sizes; None where no number in it changes.

        `dense` is run on `example`, the first time, to see how its modules are called. Raises `CodeError` when its
        code cannot be taken over.
        """
        if not self._calls:
            self._calls.update(record_calls(dense, example))
        sizes = RemainingSizes(name, self.trace.values, self.components.of_label, self.alive(kept))
        subgraph = Subgraph(self.trace, name, self._calls)
        return ModuleWriter(subgraph, sizes, small.get_submodule(name)).module()
