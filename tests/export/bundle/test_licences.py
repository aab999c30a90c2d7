"""Whose work is in a bundle is said."""

from __future__ import annotations

from secateur.export.bundle.licences import licences


def test_what_is_known_of_the_models_licence_is_said() -> None:
    found = licences("deit_tiny_patch16_224", "apache-2.0")
    assert "Apache License" in found["secateur.txt"]
    assert "timm states the licence apache-2.0" in found["model.txt"]
    assert "No licence is known" in licences("mine", "")["model.txt"]
