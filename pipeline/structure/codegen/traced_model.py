"""The model's graph at the time of a cut: code of modules that repeats numbers of units is taken from it."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor, nn

from secateur.core.model_inputs import ModelInputs
from secateur.pipeline.structure.codegen.calls import Calls, CodeError, record_all
from secateur.pipeline.structure.codegen.module_program import ModuleProgram, module_programs
from secateur.pipeline.structure.codegen.module_writer import ModuleWriter
from secateur.pipeline.structure.codegen.shuffled import steps_from
from secateur.pipeline.structure.codegen.sizes import RemainingSizes
from secateur.pipeline.structure.codegen.written_module import WrittenModule
from secateur.pipeline.structure.graph.build_groups import Units
from secateur.pipeline.structure.graph.components import Components
from secateur.pipeline.structure.graph.program import stack_of
from secateur.pipeline.structure.graph.regions import MARKS
from secateur.pipeline.structure.graph.trace import Trace
from secateur.pipeline.structure.groups import Kept


@dataclass(frozen=True, eq=False)
class TracedModel:
    """The model's graph, with what is known of each of its values, and the units that each component belongs to."""

    trace: Trace
    components: Components
    units: Units
    _calls: list[Calls] = field(default_factory=list)
    _programs: dict[str, list[ModuleProgram] | CodeError] = field(default_factory=dict)

    def alive(self, kept: Kept) -> Tensor:
        """For each component of labels whether it stays."""
        stays = torch.ones(int(self.components.of_label.max()) + 1, dtype=torch.bool)
        sets = {name: frozenset(units) for name, units in kept.items()}
        for component, memberships in self.units.items():
            stays[component] = all(name not in sets or unit in sets[name] for name, unit in memberships)
        return stays

    def own_code(self, module: str) -> bool:
        """Whether the forward function of a module computes anything itself, not only its children."""
        return module in self._computing

    @cached_property
    def _computing(self) -> frozenset[str]:
        """The modules that compute something themselves."""
        operations = (node for node in self.trace.values if node.target not in MARKS)
        return frozenset(stack[-1][1] for stack in map(stack_of, operations) if stack)

    @cached_property
    def shuffling(self) -> frozenset[str]:
        """The modules whose own code shuffles units: that runs on with fewer of them, and may take one for another."""
        steps = (steps_from(self.trace.values, node) for node in self.trace.values if node.op == "call_function")
        found = (one.nodes[0] for one in steps if one is not None and one.uneven(self.components.of_label))
        return frozenset(stack[-1][1] for stack in map(stack_of, found) if stack)

    def take_over(self, name: str, small: nn.Module, dense: nn.Module, example: ModelInputs, kept: Kept) -> bool:
        """Gives the module `name` of `small` traced code of the new sizes; False where no number in it changes.

        Where the code of a part of it was written before, its own is too: it may do without calling that part, as
        PyTorch's transformer layers do without gradients.
        `dense` is run on `example`, the first time, to see how its modules are called, and the module is traced on its
        own. Raises `CodeError` when its code cannot be taken over.
        """
        module, alive = small.get_submodule(name), self.alive(kept)
        writers = []
        for program in self._of(name, dense, example):
            sizes = RemainingSizes(name, program.values, self.components.of_label, alive)
            writers.append(ModuleWriter(program, sizes, module))
        codes = [writer.write() for writer in writers]
        rewritten = any(isinstance(part, WrittenModule) for part in module.modules() if part is not module)
        if not rewritten and not any(writer.changed for writer in writers):
            return False
        if len({*codes}) > 1:
            raise CodeError(name, "it keeps other units in one of its calls than in another")
        writers[0].replace_code()
        return True

    def one_size(self, name: str) -> bool:
        """Whether the code of a module that was taken over refuses a larger example, which the dense model takes."""
        programs = self._programs.get(name, [])
        larger = self._calls[0].larger.get(name, []) if self._calls else []
        return not isinstance(programs, CodeError) and not all(
            program.takes(call) for program, call in zip(programs, larger, strict=False)
        )

    def _of(self, name: str, dense: nn.Module, example: ModelInputs) -> list[ModuleProgram]:
        """The module's own graph, made once, for each of its calls."""
        if not self._calls:
            self._calls.append(record_all(dense, example))
        if name not in self._programs:
            try:
                self._programs[name] = module_programs(self.trace, name, dense, self._calls[0])
            except CodeError as error:
                self._programs[name] = error
        found = self._programs[name]
        if isinstance(found, CodeError):
            raise found
        return found
