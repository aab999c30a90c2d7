"""The search of a run: its calibration images split in two, its results as files."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from secateur.core.errors import DataError
from secateur.core.records import read_record, write_record
from secateur.core.say import Say
from secateur.core.study import TrialRow
from secateur.pipeline.analysis.pruning_curve import RATES, Shape
from secateur.pipeline.analysis.rule_search import Found, search
from secateur.pipeline.data.loader import Loader
from secateur.pipeline.data.sampling import few_shot, held_out
from secateur.pipeline.runs.check import check_classifies
from secateur.pipeline.runs.context import Run
from secateur.pipeline.runs.run_folder import RUN, check_free

OBJECTIVE_SHARE = 0.5


@dataclass(frozen=True)
class SearchFile:
    """search.json: the A_PR of the best composite on so many `images`, scored on so many others, and all trials."""

    study: str
    a_pr: float
    images: int
    reference_images: int
    shape: Shape
    trials: tuple[TrialRow, ...]

    def summary(self) -> dict[str, object]:
        """What is said of the search beside the composite that it found."""
        return {key: value for key, value in asdict(self).items() if key not in ("shape", "trials")}

    @staticmethod
    def load(path: Path) -> SearchFile:
        """What a search.json says; raises `RunError` for a file that is none."""
        return read_record(path, "search", SearchFile)

    def save(self, path: Path) -> None:
        """Writes search.json, atomically."""
        write_record(path, "search", self)


def split(labels: NDArray[np.int64], share: float, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Indices of the reference images and of those the objective is measured on, without a common one.

    A `share` of each class goes to the objective; where no class has two images, a share of all images. Raises
    `DataError` for a single image.
    """
    judged = held_out(labels, share, seed)
    if not judged.size:
        if len(labels) < 2:
            raise DataError("a search needs two calibration images at least: one to score with, one to judge by")
        judged = np.sort(np.random.default_rng(seed).permutation(len(labels))[: max(1, round(share * len(labels)))])
    reference = np.setdiff1d(np.arange(len(labels)), judged)
    return reference, judged


def search_run(
    run: Run,
    trials: int,
    storage: str | None = None,
    study: str | None = None,
    kinds: tuple[str, ...] | None = None,
    rates: tuple[float, ...] = RATES,
    images_per_class: int = 0,
    report: Say = lambda message: None,
) -> Found:
    """The best composite for a run, with `composite.yaml`, `search.json` and `search.png` written to RUN/search.

    Only calibration images are used: half of each class for the objective (`images_per_class` of them; 0: all), the
    recipe's `samples_per_class` of the other half as reference samples. The evaluation images are never touched.
    """
    check_classifies(run, "searches")
    check_free(run.folder, RUN)
    images, spec, seed = run.data.calibration, run.recipe.score, run.recipe.seed
    reference, judged = split(images.labels, OBJECTIVE_SHARE, seed)
    judged = judged[few_shot(images.labels[judged], images_per_class, seed)]
    reference = reference[few_shot(images.labels[reference], spec.samples_per_class, seed)]
    transform = run.transform
    shape = Shape(kinds or tuple(run.recipe.plan.kinds), "global", rates)
    folder = run.folder / "search"
    folder.mkdir(exist_ok=True)
    found = search(
        run.dense,
        run.groups,
        Loader(images, transform, spec.batch_size, reference),
        Loader(images, transform, spec.batch_size, judged),
        trials,
        storage or f"sqlite:///{(folder / 'study.db').resolve()}",
        shape,
        study,
        identity=[run.model_identity, images.fingerprint(), reference.tolist(), judged.tolist()],
        seed=seed,
        report=report,
    )
    about = SearchFile(found.study, found.a_pr, len(judged), len(reference), shape, found.trials)
    found.composite.save(folder / "composite.yaml", about.summary())
    about.save(folder / "search.json")
    from secateur.core.figures import save_figure
    from secateur.pipeline.analysis.search_figure import search_figure

    save_figure(search_figure(found.trials), folder / "search.png")
    return found


def composite_path(folder: Path) -> Path:
    """Where a run's search leaves the best composite."""
    return folder / "search" / "composite.yaml"
