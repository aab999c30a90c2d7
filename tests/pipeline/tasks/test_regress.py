"""Regression against scikit-learn."""

from __future__ import annotations

import pytest
import torch
from sklearn.metrics import r2_score, root_mean_squared_error

from secateur.core.errors import ModelError
from secateur.pipeline.tasks.regress import Regress


def test_errors_are_those_of_scikit_learn() -> None:
    torch.manual_seed(0)
    wanted = torch.randn(7, 2) * torch.tensor([1.0, 5.0])
    found, meter = wanted + torch.randn(7, 2), Regress().meter(("a", "b"))
    meter.add(found[:4], wanted[:4])
    meter.add(found[4:], wanted[4:])
    rmse, r2 = meter.metrics()
    assert rmse.value == pytest.approx(root_mean_squared_error(wanted.flatten(), found.flatten()))
    assert r2.value == pytest.approx(r2_score(wanted, found))
    assert (rmse.higher_is_better, r2.higher_is_better, rmse.unit) == (False, True, "")


def test_the_loss_is_half_the_squared_error() -> None:
    loss = Regress().losses(torch.tensor([[1.0, 2.0], [0.0, 0.0]]), torch.tensor([[0.0, 4.0], [0.0, 0.0]]))
    assert loss.tolist() == [2.5, 0.0]


def test_outputs_are_the_columns() -> None:
    Regress().check(torch.zeros(1, 2), ("a", "b"))
    with pytest.raises(ModelError, match=r"returns \[batch, 3\], but regression to 2 columns needs \[batch, 2\]"):
        Regress().check(torch.zeros(1, 3), ("a", "b"))
