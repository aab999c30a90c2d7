"""The picture of fidelity: images, and what the dense and the small model rest their answer on."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from secateur.pipeline.analysis.fidelity import Fidelity


def evidence(found: Fidelity, names: Sequence[str] = ()) -> Figure:
    """A row for each example: the image, the dense model's map, the small model's; red speaks for the class.

    The class is called by its name, or by its number where `names` are not those of all classes.
    """
    count = max(len(found.examples), 1)
    figure = Figure(figsize=(7.0, 2.4 * count), layout="constrained")
    for row, example in enumerate(found.examples):
        pixels = example.image.float()
        pixels = (pixels - pixels.min()) / (pixels.max() - pixels.min()).clamp_min(1e-6)
        columns = (("image", None), ("dense", example.dense), ("pruned", example.small))
        for column, (title, values) in enumerate(columns):
            axes = figure.add_subplot(count, 3, 3 * row + column + 1)
            axes.set_axis_off()
            if values is None:
                axes.imshow(pixels.expand(3, -1, -1).movedim(0, 2).numpy())
                number = example.explained
                axes.set_title(names[number] if number < len(names) else f"class {number}", fontsize=8, loc="left")
            else:
                limit = float(values.abs().max()) or 1.0
                axes.imshow(values.numpy(), cmap="RdBu_r", vmin=-limit, vmax=limit)
                agreement = f" (cosine {example.cosine:.2f}, rank {example.rank:.2f})" if title == "pruned" else ""
                axes.set_title(title + agreement, fontsize=8, loc="left")
    if not found.examples:
        figure.text(0.5, 0.5, "no examples were chosen", ha="center")
    return figure
