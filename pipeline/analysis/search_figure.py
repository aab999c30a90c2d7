"""The picture of a search: every trial in its order, and by each of its choices."""

from __future__ import annotations

from matplotlib.figure import Figure

from secateur.benchmarks.figure_text import figure_text
from secateur.core.study import TrialRow
from secateur.pipeline.scores.lrp.composite import DEPTHS

COLOURS = {True: "#2a6f4e", False: "#b8bec7"}  # by whether the trial was completed
CHOICES = (*(f"{depth}_rule" for depth in DEPTHS), "attention", "aggregate")


def search_figure(trials: tuple[TrialRow, ...]) -> Figure:
    """All trials: A_PR in the order of the study with the best so far, then by each choice."""
    shown = [key for key in CHOICES if any(key in row.parameters for row in trials)]
    figure = Figure(figsize=(12.8, 6.0), layout="constrained")
    order = figure.add_subplot(2, 4, 1)
    best = float("-inf")
    for row in trials:
        best = max(best, row.a_pr) if row.complete else best
        order.plot(row.number, row.a_pr, "o", color=COLOURS[row.complete], markersize=4)
        order.plot(row.number, best, "_", color="#c0392b", markersize=6)
    order.set_title("trials (grey: given up; red: best so far)", fontsize=8, loc="left")
    order.set_ylabel("A_PR (%)")
    for place, key in enumerate(shown):
        axes = figure.add_subplot(2, 4, place + 2, sharey=order)
        rows = [row for row in trials if key in row.parameters]
        words = sorted({str(row.parameters[key]) for row in rows})
        for row in rows:
            x = words.index(str(row.parameters[key]))
            axes.plot(x, row.a_pr, "o", color=COLOURS[row.complete], markersize=4, alpha=0.7)
        axes.set_xticks(range(len(words)), [figure_text(word) for word in words], rotation=20, fontsize=7)
        axes.set_title(figure_text(key.replace("_", " ")), fontsize=8, loc="left")
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
    return figure
