"""The table of the accuracy frontier: closed form, reconstruction and distillation from the same start."""

from __future__ import annotations

from pathlib import Path

from secateur_studies.score_tables import Table

from secateur.core.files import read_json


def frontier(results: Path) -> Table:
    """For each case and way the mean top-1 over the seeds, its share of dense, and what it took."""
    content = read_json(results / "frontier.json", "frontier")
    found: dict[tuple[str, str, float, str], list[dict[str, float]]] = {}
    for row in content["rows"]:
        found.setdefault((row["task"], row["part"], row["removed"], row["way"]), []).append(row)
    head = ("model", "MACs that go", "way", "top-1", "of dense", "divergence on images held out", "CPU seconds")
    lines = []
    for (task, part, removed, way), rows in found.items():
        mean = {key: sum(row[key] for row in rows) / len(rows) for key in ("top1", "share_of_dense", "cpu_seconds")}
        falls = [(row["before"], row["after"]) for row in rows if "before" in row]
        before, after = (sum(side) / len(falls) for side in zip(*falls, strict=True)) if falls else (0.0, 0.0)
        lines.append(
            (
                f"{task} (dense {content['dense'][task]['top1']:.1f})",
                f"{removed:.0%} of {'the MLPs' if part == 'MLP' else part}",
                way,
                f"{mean['top1']:.1f}",
                f"{mean['share_of_dense']:.1%}",
                f"{before:.3f} -> {after:.3f}" if falls else "-",
                f"{mean['cpu_seconds']:.0f}" if mean["cpu_seconds"] >= 1 else "-",
            )
        )
    return head, lines
