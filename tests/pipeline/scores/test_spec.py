"""What a recipe says under `score`: every mistake is named when the recipe is read."""

from __future__ import annotations

from typing import Any

import pytest

from secateur.core.errors import SecateurError
from secateur.pipeline.runs.recipe import make_recipe
from secateur.pipeline.scores.obs import Obs
from secateur.pipeline.scores.spec import ScoreSpec
from secateur.pipeline.scores.xmask.method import XMask

MINIMAL = {"model": {"name": "deit_tiny_patch16_224"}, "data": {"path": "digits"}, "budget": {"macs": 0.5}}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"method": "tailor"}, "score: there is no score method 'tailor', but .*did you mean 'taylor'"),
        ({"method": "obs", "options": {"metricc": "trace"}}, "obs has no option 'metricc'; did you mean 'metric'"),
        ({"method": "obs", "options": {"metric": "trice"}}, "obs.metric is 'trice'.*did you mean 'trace'"),
        ({"method": "obs", "options": {"weights": "tokens"}}, "no token weighting 'tokens'"),
        ({"method": "xmask", "options": {"kinds": ["mlp"]}}, r"xmask.kinds is \['mlp'\], but must be one of head"),
        ({"method": "lrp", "options": {"composite": "epsilom"}}, "did you mean 'epsilon'"),
        ({"method": "taylor", "options": {"steps": 3}}, "taylor has no option 'steps'; its options: none"),
        ({"loss": "mine:focal"}, "score.loss is mine:focal, but score.method is obs, .* no loss: set it to taylor"),
        ({"method": "lrp", "loss": "mine:focal"}, "score.method is lrp, which looks at no loss"),
        ({"method": "taylor", "loss": "focal"}, "score.loss is 'focal', but must be the import path"),
        ({"batch_size": 0}, "score.batch_size is 0, but must be 1 or more"),
        ({"samples_per_class": -1}, "score.samples_per_class is -1, but must be 0 or more"),
    ],
)
def test_a_mistake_is_refused_when_the_recipe_is_read(content: dict[str, Any], words: str) -> None:
    with pytest.raises(SecateurError, match=words):
        make_recipe({**MINIMAL, "score": content}, "recipe.yaml")


def test_options_become_the_method_as_yaml_has_them() -> None:
    options = {"kinds": ["head"], "lr": "1e-3", "rank": None}
    assert ScoreSpec("xmask", options=options).made() == XMask(kinds=("head",), lr=1e-3)
    assert make_recipe({**MINIMAL, "score": {"method": "obs"}}, "recipe.yaml").score.made() == Obs()
