"""Pictures on disk: whole, the same bytes for the same picture, and never half-written."""

from __future__ import annotations

from pathlib import Path

import pytest
from matplotlib.figure import Figure

from secateur.core.figures import save_figure


def drawn() -> Figure:
    figure = Figure(figsize=(2.0, 1.0))
    figure.subplots().plot([0, 1], [1, 0])
    return figure


def test_the_same_picture_is_the_same_file(tmp_path: Path) -> None:
    for name in ("one.png", "two.png"):
        save_figure(drawn(), tmp_path / "figures" / name)
    one, two = ((tmp_path / "figures" / name).read_bytes() for name in ("one.png", "two.png"))
    assert one == two
    assert one.startswith(b"\x89PNG")


def test_a_picture_that_cannot_be_drawn_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "one.png"
    save_figure(drawn(), path)
    before = path.read_bytes()

    def broken(self: Figure, file: Path, **_: object) -> None:
        Path(file).write_bytes(b"half")
        raise ArithmeticError("drawing failed")

    monkeypatch.setattr(Figure, "savefig", broken)
    with pytest.raises(ArithmeticError, match="drawing failed"):
        save_figure(drawn(), path)
    assert path.read_bytes() == before
    assert [found.name for found in tmp_path.iterdir()] == ["one.png"]
