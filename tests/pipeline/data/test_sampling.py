"""Few-shot samples: balanced, seeded, nested, and open about classes that are too small."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from secateur.core.errors import DataError
from secateur.pipeline.data.sampling import few_shot, shortfall

COUNTS = st.dictionaries(st.integers(0, 40), st.integers(1, 20), min_size=1, max_size=8)


def shuffled(counts: dict[int, int], seed: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    labels = np.concatenate([np.full(count, label) for label, count in counts.items()])
    return np.random.default_rng(seed).permutation(labels)


@given(counts=COUNTS, per_class=st.integers(1, 25), seed=st.integers(0, 2**32))
def test_each_class_gives_as_many_as_asked_or_all(counts: dict[int, int], per_class: int, seed: int) -> None:
    labels = shuffled(counts, seed % 7)
    chosen = few_shot(labels, per_class, seed)
    assert chosen.tolist() == sorted(set(chosen.tolist()))
    for label, count in counts.items():
        assert int((labels[chosen] == label).sum()) == min(per_class, count)
    assert np.array_equal(chosen, few_shot(labels, per_class, seed))


@given(counts=COUNTS, per_class=st.integers(1, 10), seed=st.integers(0, 9))
def test_more_images_add_and_other_classes_do_not_matter(counts: dict[int, int], per_class: int, seed: int) -> None:
    labels = shuffled(counts, seed)
    chosen = set(few_shot(labels, per_class, seed).tolist())
    assert chosen <= set(few_shot(labels, per_class + 1, seed).tolist())
    label = labels[0]
    own = np.flatnonzero(labels == label)
    assert {i for i in chosen if labels[i] == label} == set(own[few_shot(labels[own], per_class, seed)].tolist())


def test_seeds_differ_and_classes_do_not_repeat_one_pattern() -> None:
    labels = np.repeat(np.arange(4), 50)
    picks = few_shot(labels, 10, 0)
    assert not np.array_equal(picks, few_shot(labels, 10, 1))
    assert len({tuple(picks[i * 10 : i * 10 + 10] - 50 * i) for i in range(4)}) == 4


def test_one_image_per_class_and_zero_for_all() -> None:
    labels = np.random.default_rng(0).permutation(1000)
    assert np.array_equal(few_shot(labels, 10), np.arange(1000))
    assert np.array_equal(few_shot(np.array([3, 3, 1]), 0), np.arange(3))
    assert few_shot(np.array([], dtype=np.int64), 3).size == 0


def test_small_classes_are_reported() -> None:
    labels = np.array([0, 0, 0, 1, 3, 3])
    assert shortfall(labels, ("a", "b", "c", "d"), 1).startswith(
        "1 images of each class were asked, but 1 of 4 classes have fewer ('c' has 0)"
    )
    assert "3 of 4 classes have fewer ('b' has 1, 'c' has 0, 'd' has 2)" in shortfall(labels, tuple("abcd"), 3)
    assert shortfall(np.array([0, 1]), ("a", "b"), 1) == ""
    assert ", ...)" in shortfall(labels, tuple("abcd"), 4)


@pytest.mark.parametrize(("per_class", "seed", "message"), [(-1, 0, "samples_per_class is -1"), (1, -1, "seed is -1")])
def test_negative_numbers_are_refused(per_class: int, seed: int, message: str) -> None:
    with pytest.raises(DataError, match=message):
        few_shot(np.array([0, 1]), per_class, seed)
