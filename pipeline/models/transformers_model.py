"""Image classifiers of transformers, made from what their config.json says; no code of a folder is run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from secateur.core.errors import MissingPackageError, ModelError

FACTORY = "secateur.pipeline.models.transformers_model:classifier"
"""The import path by which recipes name `classifier`."""


def classifier(config: Mapping[str, Any], crop_mode: str = "center") -> nn.Module:
    """The architecture that a config.json describes, with random weights; it takes images and answers with logits.

    `crop_mode` is timm's word for how images come to the size of the input. Raises `ModelError` for what transformers
    does not have as an image classifier, and `MissingPackageError` without transformers.
    """
    try:
        from transformers.models.auto.configuration_auto import CONFIG_MAPPING
        from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING as KINDS
    except ImportError as error:
        raise MissingPackageError("transformers", "models of its kind", "transformers") from error
    described = dict(config)
    family = described.pop("model_type", None)
    if family not in CONFIG_MAPPING or CONFIG_MAPPING[family] not in KINDS:
        raise ModelError(
            f"config.json is of the model_type {family!r}, of which the installed transformers has no image "
            "classifier: give the import path of a function that makes the model"
        )
    made = CONFIG_MAPPING[family].from_dict(described)
    kinds = KINDS[type(made)]
    every: Any = kinds if isinstance(kinds, tuple | list) else (kinds,)
    names = {kind.__name__: kind for kind in every}
    asked = (config.get("architectures") or [next(iter(names))])[0]
    if asked not in names:
        raise ModelError(f"config.json is of a {asked}, but must be of an image classifier: {', '.join(names)}")
    model: nn.Module = _answering_logits(names[asked])(made)
    model.pretrained_cfg = {"crop_mode": crop_mode}  # type: ignore[assignment]  # nn.Module wants Tensor | Module
    return model


def _answering_logits(kind: type[nn.Module]) -> type[nn.Module]:
    """The class with a forward that takes images alone and gives the logits instead of a dictionary."""

    def forward(self: nn.Module, pixel_values: Tensor) -> Tensor:
        logits: Tensor = kind.forward(self, pixel_values).logits
        return logits

    return type(kind.__name__, (kind,), {"forward": forward, "__module__": __name__})


def checkpoint_filter_fn(tensors: Mapping[str, Tensor], model: nn.Module) -> Mapping[str, Tensor]:
    """The tensors by the names that they have in this version of transformers, which renames those of older files.

    `models.fill` looks for this function where the class of a model is from, as timm's families have one. Tensors of
    which transformers does not take all, and all of the model's, come back as they are.
    """
    kind: Any = type(model)
    with _without_bars():
        made, found = kind.from_pretrained(
            None, config=model.config, state_dict=dict(tensors), output_loading_info=True
        )
    if any(found[odd] for odd in ("missing_keys", "unexpected_keys", "mismatched_keys")):
        return tensors
    renamed: Mapping[str, Tensor] = made.state_dict()
    return renamed


@contextmanager
def _without_bars() -> Iterator[None]:
    """Within it, transformers draws no bars over what secateur says."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # transformers does not annotate it
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]  # nor this
