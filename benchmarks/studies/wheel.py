"""How the wheel is built: without the studies, which only a checkout can run."""

from __future__ import annotations

from setuptools.command.build_py import build_py

STUDIES = "secateur_studies"


class WheelWithoutStudies(build_py):
    """Builds all packages for an editable installation, and all but the studies for a wheel."""

    def run(self) -> None:
        """Builds the packages that the wheel holds."""
        if not self.editable_mode:
            self.packages = [name for name in self.packages or () if name.partition(".")[0] != STUDIES]
        super().run()
