"""What is kept of a model's inputs, and inputs drawn from it again."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch

from secateur.core.errors import ModelError
from secateur.core.input_spec import InputSpec, TensorSpec
from secateur.core.model_inputs import map_tensors

EXAMPLES: list[Any] = [
    torch.zeros(2, 3, 8, 8),
    (torch.zeros(2, 3), torch.tensor([[4, 9], [6, 7]])),
    {"pixels": torch.zeros(4, 3, 8, 8), "mask": torch.ones(4, 5, dtype=torch.bool), "flag": True, "none": None},
    {"x": [torch.zeros(2, 3), (torch.zeros(7, 2), 3, "word")], "t": torch.tensor(0.5), "step": torch.tensor(3)},
]


@pytest.mark.parametrize("example", EXAMPLES)
def test_inputs_are_drawn_in_the_shapes_and_types_of_the_example(example: Any) -> None:
    spec = InputSpec.of(example)
    again = InputSpec.from_json(json.loads(json.dumps(spec.to_json())))
    assert again == spec
    assert InputSpec.of(spec.draw(3)).to_json().__class__ is spec.to_json().__class__
    one, two = spec.draw(3), again.draw(3)
    rows = iter(spec.tensors)

    def same(tensor: torch.Tensor) -> bool:
        wanted = next(rows)
        dtype = torch.float32 if wanted.dtype == "float" else getattr(torch, wanted.dtype)
        return tensor.dtype == dtype and tensor.shape == ((3, *wanted.shape) if wanted.batched else wanted.shape)

    assert all(_flat(map_tensors(same, one)))
    assert str(map_tensors(lambda tensor: tensor.tolist(), one)) == str(map_tensors(lambda t: t.tolist(), two))


def test_whole_numbers_stay_within_those_of_the_example() -> None:
    spec = InputSpec.of({"ids": torch.tensor([[4, 9, 7]]), "mask": torch.ones(1, 3, dtype=torch.int32)})
    drawn = spec.draw(50)
    assert drawn["ids"].unique().tolist() == [4, 5, 6, 7, 8, 9]
    assert drawn["mask"].dtype == torch.int32 and bool((drawn["mask"] == 1).all())


def test_single_numbers_stay_as_they_are() -> None:
    drawn = InputSpec.of((torch.zeros(2, 3), torch.tensor(0.25), torch.tensor(7))).draw(4)
    assert float(drawn[1]) == 0.25 and int(drawn[2]) == 7


def test_one_floating_point_tensor_is_its_shape() -> None:
    spec = InputSpec.of(torch.zeros(5, 3, 8, 8, dtype=torch.float16))
    assert spec == InputSpec.shaped((3, 8, 8)) == InputSpec.from_json([3, 8, 8])
    assert spec.to_json() == [3, 8, 8] and spec.shape == (3, 8, 8) and spec.numbers == 192
    generator = torch.Generator().manual_seed(4)
    assert torch.equal(spec.draw(2, seed=4), torch.randn(2, 3, 8, 8, generator=generator))
    assert InputSpec.of((torch.zeros(5, 3),)).shape is None and str(spec) == "float [batch, 3, 8, 8]"


@pytest.mark.parametrize("example", [(torch.zeros(2, 3), object()), torch.zeros(2, 3, dtype=torch.complex64)])
def test_what_cannot_be_kept_is_refused(example: Any) -> None:
    with pytest.raises(ModelError, match="an input of the model is"):
        InputSpec.of(example)


@pytest.mark.parametrize("content", [{"what": 1}, {"value": 3}, {"tensor": {"size": 3}}, {"tuple": [], "list": []}])
def test_what_is_no_record_is_an_error(content: Any) -> None:
    with pytest.raises((ValueError, TypeError, KeyError)):
        InputSpec.from_json(content)


def test_the_table_of_positions_goes_in_whole() -> None:
    spec = InputSpec.of((torch.zeros(2, 3), torch.zeros(7, 3)))
    assert spec.tensors == [TensorSpec((3,)), TensorSpec((7, 3), batched=False)]
    assert [tuple(tensor.shape) for tensor in spec.draw(9)] == [(9, 3), (7, 3)]


def _flat(value: Any) -> list[bool]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple):
        return [found for member in value for found in _flat(member)]
    return [value] if isinstance(value, bool) and value is not None else []
