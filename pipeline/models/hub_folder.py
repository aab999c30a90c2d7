"""Folders of the Hugging Face hub: a config.json, by timm or by transformers, beside the weights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from secateur.core.errors import ModelError
from secateur.pipeline.models.hub_json import read_hub_json
from secateur.pipeline.models.spec import CONFIG, ModelSpec
from secateur.pipeline.models.transformers_folder import PROCESSOR, spec_of_config
from secateur.pipeline.models.weights_file import HUB_WEIGHTS, weights_in

FILE = "config.json"


def is_hub_folder(path: Path) -> bool:
    """Whether a folder has the hub's config.json."""
    return (path / FILE).is_file()


def spec_of_hub_folder(folder: Path) -> ModelSpec:
    """The model of a folder that timm or transformers wrote: architecture, arguments, preprocessing and weights.

    Raises `ModelError` where the folder is another library's, cannot be read, or has no weights.
    """
    content = _read(folder / FILE)
    name = content.get("architecture")
    if not isinstance(name, str) and not isinstance(content.get("model_type"), str):
        raise ModelError(
            f"{folder / FILE} is of no model, with neither timm's architecture nor transformers' model_type: give the "
            "name of a timm model, or the import path of a function that makes this one, and the weights beside it"
        )
    weights = weights_in(folder)
    if weights == folder:
        raise ModelError(f"{folder} has {FILE} but neither {' nor '.join(HUB_WEIGHTS)}: add the weights")
    if not isinstance(name, str):
        processor = folder / PROCESSOR
        return spec_of_config(content, _read(processor) if processor.is_file() else None, str(weights))
    said = content.get("pretrained_cfg")
    config = said if isinstance(said, Mapping) else content  # timm's older files have all in one place
    kwargs = dict(content.get("model_args") or {})
    if "num_classes" in content:
        kwargs["num_classes"] = content["num_classes"]
    if config.get("crop_mode", "center") != "center":
        kwargs["pretrained_cfg_overlay"] = {"crop_mode": config["crop_mode"]}
    sized = "img_size" in kwargs or "in_chans" in kwargs
    keys = [key for key in CONFIG if config.get(key) is not None and not (sized and key == "input_size")]
    found = {key: _as_key(config[key]) for key in keys}
    return ModelSpec(name, str(weights), kwargs=kwargs, **found)


def _read(path: Path) -> Mapping[str, Any]:
    content = read_hub_json(path)
    if not isinstance(content, Mapping):
        raise ModelError(f"{path} holds a {type(content).__name__}, but the hub's files hold keys: download it again")
    return content


def _as_key(value: Any) -> Any:
    """A value of the config as a recipe's key has it."""
    return tuple(value) if isinstance(value, list) else value
