"""Mixed precision under a limit: the products whose 8 bits cost the most go back to the wider type until it holds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from secateur.core.errors import ExportError
from secateur.core.say import Say
from secateur.export.graph_types import bit_ops
from secateur.export.quantize.limit import Drop, LayerChoice, Limit, Limited, Trial
from secateur.export.quantize.placement import Placement
from secateur.export.quantize.sensitivity import Write, sensitivities
from secateur.export.quantize.trials import Trials

if TYPE_CHECKING:
    import onnx_ir as ir


def keep_limit(
    program: ir.Model,
    placement: Placement,
    macs: Mapping[str, float],
    precision: str,
    write: Write,
    limit: Limit,
    identity: str,
    say: Say,
    wider: str = "fp32",
) -> tuple[dict[str, str], Limited]:
    """The products to return to the wider type, each with the reason, so that the limit holds; and how that was found.

    Products are ranked by their `sensitivities` for each bit-operation which their 8 bits save; the least number of
    first ones that keeps the limit is found by bisection, in `1 + log2(products)` measurements of the metric. `wider`
    is the type of products that are not in 8 bits, `macs` are those of `product_macs`, `identity` names the graph, its
    calibration and the options. Raises `ExportError` where it holds with no product in 8 bits alone.
    """
    judge, names = limit.judge, [product.node for product in placement.products]
    trials = Trials(f"{identity} {judge.identity}", limit.trials)
    say(f"measuring what each of {len(names)} products costs in {precision}")
    costs = sensitivities(names, write, judge, trials)
    ranking = sorted(names, key=lambda name: costs[name] / max(macs[name], 1.0), reverse=True)
    tried: dict[int, Drop] = {}
    with TemporaryDirectory() as folder:
        path = Path(folder) / "candidate.onnx"

        def drop(wide: Sequence[str]) -> Drop:
            write(wide, path)
            return judge.drop(path)

        def holds(count: int) -> bool:
            wide = ranking[:count]
            tried[count] = found = trials.drop(wide, lambda: drop(wide))
            say(f"{count} of {len(names)} products in {wider}: {_amount(judge.metric, judge.unit, found)}")
            return found.value <= limit.max_drop + 1e-9  # a drop of one point may be 1.0000000000000142

        count = _fewest(holds, len(names))
    if count == len(names):
        raise ExportError(
            f"no graph with a product in {precision} keeps the limit of {limit.max_drop:g}"
            f"{_points(judge.unit)}: with {count - 1} of {count} products in {wider}, "
            f"{_amount(judge.metric, judge.unit, tried[count - 1])}; leave {precision} out of export.precisions, raise "
            "export.max_drop or give more images"
        )
    returned = {
        name: f"returned to {wider} as number {place + 1} of {count}: alone it costs the answers {costs[name]:.2g}"
        for place, name in enumerate(ranking[:count])
    }
    layers = _layers(program, placement, macs, costs, returned, (precision, wider))
    wide = sum(bit_ops(layer.macs, "fp32") for layer in layers)
    least = sum(bit_ops(layer.macs, wider if layer.divergence is None else precision) for layer in layers)
    return returned, Limited(
        limit.max_drop,
        judge.metric,
        judge.unit,
        tried[count],
        tuple(Trial(number, found) for number, found in sorted(tried.items())),
        layers,
        sum(layer.bit_ops for layer in layers) / wide,
        least / wide,
        _sentence(limit, (precision, wider), tried, count, len(names)),
    )


def _fewest(holds: Callable[[int], bool], most: int) -> int:
    """The least count that holds, if more always hold where fewer do; `most` where none below it does."""
    if holds(0):
        return 0
    low, high = 0, most
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high


def _layers(
    program: ir.Model,
    placement: Placement,
    macs: Mapping[str, float],
    costs: Mapping[str, float],
    returned: Mapping[str, str],
    types: tuple[str, str],
) -> tuple[LayerChoice, ...]:
    """What became of every product of the graph, in its order; `types` are the 8 bits and the wider one."""
    precision, wider = types
    found = []
    for node in program.graph:
        if (name := str(node.name)) not in macs:
            continue
        reason = placement.kept.get(name) or returned.get(name) or f"alone it costs the answers {costs[name]:.2g}"
        word = wider if name in placement.kept or name in returned else precision
        module = node.metadata_props.get("module", "")
        cost, operations = costs.get(name), bit_ops(macs[name], word)
        found.append(LayerChoice(name, module, node.op_type, macs[name], word, operations, cost, reason))
    return tuple(found)


def _sentence(limit: Limit, types: tuple[str, str], tried: Mapping[int, Drop], count: int, products: int) -> str:
    """The outcome, and whether so many images can tell."""
    precision, wider = types
    judge, found = limit.judge, tried[count]
    unit, metric = judge.unit, judge.metric
    if count == 0:
        words = f"nothing is returned to {wider}: with all {products} products in {precision}, "
    else:
        words = (
            f"{count} of {products} products are returned to {wider}: with all in {precision}, "
            f"{_amount(metric, unit, tried[0])}, and now "
        )
    words += f"{_amount(metric, unit, found)}, at most {limit.max_drop:g} {'are' if unit == '%' else 'is'} allowed"
    worst = max(tried.values(), key=lambda one: one.error)
    if worst.needed(limit.max_drop) <= worst.images and limit.max_drop > 0:
        return words
    enough = f"; about {worst.needed(limit.max_drop)} images could" if limit.max_drop > 0 else ""
    return (
        f"{words}, but {found.images} images cannot tell a drop of {limit.max_drop:g}{_points(unit)} from none "
        f"(standard error {worst.error:.2g}){enough}"
    )


def _amount(metric: str, unit: str, drop: Drop) -> str:
    return f"{metric} is worse by {drop.value:.3g} ± {drop.error:.2g}{_points(unit)} on {drop.images} images"


def _points(unit: str) -> str:
    return " points" if unit == "%" else ""
