"""Memory of the GPU by the driver's functions, on a stand-in: copies, what is given back, and errors."""

from __future__ import annotations

import numpy as np
import pytest

from secateur.export.runner import cuda as module
from secateur.export.runner.cuda import Cuda
from secateur.export.runner.errors import InferenceError, UnavailableError
from tests.export.runner.fake_driver import FakeDriver


def test_arrays_go_and_come_back_and_all_is_freed() -> None:
    driver = FakeDriver()
    cuda = Cuda(driver)
    array, back = np.arange(6, dtype=np.float32).reshape(2, 3), np.zeros((2, 3), np.float32)
    place = cuda.send(array)
    cuda.fetch(place, back)
    cuda.wait()
    np.testing.assert_array_equal(back, array)
    assert len(driver.blocks) == 1
    cuda.close()
    cuda.close()
    assert not driver.blocks
    assert driver.calls[-2:] == ["cuStreamDestroy_v2", "cuDevicePrimaryCtxRelease_v2"]


def test_no_driver_and_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "load_driver", lambda: None)
    with pytest.raises(UnavailableError, match="no NVIDIA driver here"):
        Cuda()
    with pytest.raises(UnavailableError, match="sees no GPU here"):
        Cuda(FakeDriver(cuInit=100))


def test_a_refusal_is_said_in_the_drivers_words() -> None:
    cuda = Cuda(FakeDriver(cuMemAlloc_v2=2))
    with pytest.raises(InferenceError, match=r"refuses cuMemAlloc_v2 \(error 2: out of memory\)"):
        cuda.allocate(4)
