"""Folders that transformers wrote: the classifier of a config.json, with the preprocessing of its image processor."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from secateur.core.errors import ModelError
from secateur.pipeline.models.spec import ModelSpec
from secateur.pipeline.models.transformers_model import FACTORY

PROCESSOR = "preprocessor_config.json"
KNOWN = ("ViT", "DeiT", "ConvNext", "Bit", "CLIP")
"""The image processors whose steps are resizing, cropping in the middle and normalising, as timm's are."""
NAMES = ("label2id", "id2label", "_name_or_path", "transformers_version", "auto_map")
"""What a config says besides the architecture."""
FILTERS = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic", 4: "box", 5: "hamming"}
"""Pillow's numbers of its filters, as timm calls them."""
LARGE = 384
"""From this side on, ConvNext's images are stretched to the input and not cropped."""
_log = logging.getLogger(__name__)


def spec_of_config(config: Mapping[str, Any], processor: Mapping[str, Any] | None, weights: str) -> ModelSpec:
    """The model of a config.json, and of a preprocessor_config.json where there is one.

    Raises `ModelError` for a processor whose numbers are of another form. What cannot be taken over is said.
    """
    said = {key: value for key, value in config.items() if key not in NAMES}
    labels = config.get("id2label")
    if isinstance(labels, Mapping):
        said["num_labels"] = len(labels)
    kwargs: dict[str, Any] = {"config": said}
    kind = str((processor or {}).get("image_processor_type") or (processor or {}).get("feature_extractor_type") or "")
    if processor is None or not any(kind.startswith(name + rest) for name in KNOWN for rest in ("Image", "Feature")):
        size = config.get("image_size")
        shape = (int(config.get("num_channels", 3)), size, size) if isinstance(size, int) else None
        what = f"a {kind}, whose steps secateur does not know" if kind else f"no {PROCESSOR} that says how"
        _log.warning(
            "%s has %s: images are prepared as timm does by default; say model.input_size, mean, std, crop_pct and "
            "interpolation",
            *(weights, what),
        )
        return ModelSpec(FACTORY, weights, kwargs=kwargs, input_size=shape)
    try:
        keys, kwargs["crop_mode"] = _keys_of(processor)
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise ModelError(
            f"{PROCESSOR} beside {weights} is no {kind} ({type(error).__name__}: {error}): download it again, or move "
            "it away and say model.input_size, mean, std, crop_pct and interpolation"
        ) from error
    return ModelSpec(FACTORY, weights, kwargs=kwargs, **keys)


def _keys_of(processor: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """The preprocessing as a recipe's keys, and timm's word for how an image comes to its size."""
    size, crop = processor["size"], processor.get("crop_size")
    edge = size if isinstance(size, int) else size.get("shortest_edge")
    wide = None if edge is not None else (int(size["height"]), int(size["width"]))
    mode, share = ("center", 1.0) if wide is None else ("squash", 1.0)
    height, width = wide or (int(edge), int(edge))
    if processor.get("crop_pct") is not None:  # ConvNext's: `size` is that of the input
        mode, share = ("squash", 1.0) if height >= LARGE else ("center", float(processor["crop_pct"]))
    elif processor.get("do_center_crop") and crop is not None:
        sides = (crop, crop) if isinstance(crop, int) else (int(crop["height"]), int(crop["width"]))
        share = sides[0] / height
        height, width = sides
    plain = not processor.get("do_normalize", True)
    mean, std = ((0.0,) * 3, (1.0,) * 3) if plain else (processor["image_mean"], processor["image_std"])
    keys = {
        "input_size": (3, height, width),
        "mean": tuple(map(float, mean)),
        "std": tuple(map(float, std)),
        "crop_pct": share,
        "interpolation": FILTERS[int(processor.get("resample", 2))],
    }
    return keys, mode
