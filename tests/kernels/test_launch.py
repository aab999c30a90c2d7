"""Launches through pycuda: order, contexts, images and errors with a stand-in driver; the real one where it is."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch

from secateur.core.errors import KernelError, MissingPackageError
from secateur.kernels import launch as launching
from secateur.kernels import on_gpu, ops, portable
from secateur.kernels.heads import HeadLayout
from secateur.kernels.launch import device_limits, image_for, run, table_on, why_not
from secateur.kernels.variants import DeviceLimits, Launch

REASON = why_not()
need_gpu = pytest.mark.skipif(bool(REASON), reason=REASON or "kernels can be launched here")
CACHED = ("_driver", "_primary_context", "_limits_of", "_side_stream", "_module", "_entry", "_table_on")
LAUNCH = Launch("bias_gelu", "bias_gelu_fp32", (3, 1, 1), (256, 1, 1), 0)


class Driver(ModuleType):
    """`pycuda.driver`, with its names, noting what is called in `log`; `refuse` names the call that fails."""

    class Error(Exception):
        pass

    function_attribute = SimpleNamespace(MAX_DYNAMIC_SHARED_SIZE_BYTES="shared")

    def __init__(self, refuse: str = "") -> None:
        super().__init__("pycuda.driver")
        self.log: list[tuple[Any, ...]] = []
        self.refuse = refuse
        self.Context = SimpleNamespace(pop=lambda: self.note("pop"))

    def note(self, *call: Any) -> None:
        self.log.append(call)
        if call[0] == self.refuse:
            raise self.Error(f"cu{call[0]} failed: invalid argument")

    def init(self) -> None:
        self.note("init")

    def Device(self, index: int) -> Any:  # pycuda's name
        context = SimpleNamespace(push=lambda: self.note("push"))
        return SimpleNamespace(retain_primary_context=lambda: self.note("retain", index) or context)

    def Stream(self, flags: int) -> Any:  # pycuda's name
        self.note("stream", flags)
        return SimpleNamespace(handle=77)

    def module_from_buffer(self, image: bytes) -> Any:
        self.note("module", image[:4])
        return SimpleNamespace(get_function=lambda name: self.note("function", name) or Function(self))


class Function:
    def __init__(self, driver: Driver) -> None:
        self.driver = driver

    def set_attribute(self, name: str, value: int) -> None:
        self.driver.note("attribute", name, value)

    def prepare(self, signature: str) -> Function:
        self.driver.note("prepare", signature)
        return self

    def prepared_async_call(
        self, grid: object, block: object, stream: object, *values: object, shared_size: int
    ) -> None:
        self.driver.note("launch", grid, block, stream, values, shared_size)


@pytest.fixture
def fresh() -> Iterator[None]:
    """Empty caches before and after."""

    def clear() -> None:
        for name in CACHED:
            getattr(launching, name).cache_clear()

    clear()
    yield
    clear()


@pytest.fixture
def driver(fresh: None, monkeypatch: pytest.MonkeyPatch) -> Driver:
    """The stand-in, on a machine with one device of capability 8.7 whose current stream is the default one."""
    fake = Driver()
    install(monkeypatch, fake)
    return fake


def install(monkeypatch: pytest.MonkeyPatch, fake: Driver) -> None:
    package: Any = ModuleType("pycuda")
    package.driver = fake
    monkeypatch.setitem(sys.modules, "pycuda", package)
    monkeypatch.setitem(sys.modules, "pycuda.driver", fake)
    properties = SimpleNamespace(major=8, minor=7, multi_processor_count=8, shared_memory_per_block_optin=166912)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: properties)
    monkeypatch.setattr(launching, "_initialised", lambda index: None)
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: False)
    stream(monkeypatch, fake, 0)


def stream(monkeypatch: pytest.MonkeyPatch, fake: Driver, handle: int) -> None:
    """Makes a stream of that handle the current one."""
    wait = lambda name: lambda other: fake.note(name, "waits for", other.name)  # noqa: E731  # used twice below
    current = SimpleNamespace(cuda_stream=handle, name="current", wait_stream=wait("current"))
    side = SimpleNamespace(name="ours", wait_stream=wait("ours"))
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: current)
    monkeypatch.setattr(torch.cuda, "ExternalStream", lambda handle, device: fake.note("wrap", handle) or side)


def arguments() -> list[Any]:
    """Of bias_gelu, with a stand-in device of index 0 in place of the CPU's."""
    x = torch.zeros(4, 8)
    return [OnDevice(x), None, 4, 8, OnDevice(x)]


class OnDevice(torch.Tensor):
    """A tensor of the CPU that says it is on device 0."""

    @property
    def device(self) -> torch.device:  # type: ignore[override]  # only for the test
        return torch.device("cuda", 0)

    def __new__(cls, x: torch.Tensor) -> OnDevice:
        return torch.Tensor._make_subclass(cls, x)


def test_a_launch_in_the_default_stream(driver: Driver) -> None:
    given = arguments()
    run(LAUNCH, given)
    address = given[0].data_ptr()
    assert driver.log == [
        ("init",),
        ("retain", 0),
        ("push",),
        ("stream", 1),
        ("wrap", 77),
        ("module", b"\x7fELF"),
        ("function", "bias_gelu_fp32"),
        ("prepare", "PPiiP"),
        ("launch", (3, 1, 1), (256, 1, 1), None, (address, 0, 4, 8, address), 0),
        ("pop",),
    ]
    driver.log.clear()
    run(LAUNCH, given)
    assert [call[0] for call in driver.log] == ["push", "launch", "pop"]


def test_a_launch_in_another_stream_is_ordered_by_events(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    """pycuda launches on its own streams: ours waits for PyTorch's, and PyTorch's waits for ours."""
    run(LAUNCH, arguments())
    driver.log.clear()
    stream(monkeypatch, driver, 4711)
    run(LAUNCH, arguments())
    calls = [call if len(call) < 4 else call[0] for call in driver.log]
    assert calls == [
        ("push",), ("stream", 1), ("wrap", 77), ("ours", "waits for", "current"), "launch",
        ("current", "waits for", "ours"), ("pop",),
    ]  # fmt: skip
    assert driver.log[4][3].handle == 77


def test_no_stream_is_made_during_a_capture(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    run(LAUNCH, arguments())
    driver.log.clear()
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: True)
    for handle in (4711, 4712):
        stream(monkeypatch, driver, handle)
        run(LAUNCH, arguments())
    names = [call[0] for call in driver.log]
    assert names == ["push", "ours", "launch", "current", "pop"] * 2


def test_much_shared_memory_is_asked_for(driver: Driver) -> None:
    run(Launch("bias_gelu", "bias_gelu_fp32", (1, 1, 1), (256, 1, 1), 48 * 1024 + 16), arguments())
    assert ("attribute", "shared", 48 * 1024 + 16) in driver.log
    driver.log.clear()
    run(Launch("bias_gelu", "bias_gelu_fp32", (1, 1, 1), (256, 1, 1), 48 * 1024), arguments())
    assert not [call for call in driver.log if call[0] == "attribute"]


def test_one_kernel_is_compiled_and_not_its_whole_source(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    real = launching.compile_kernel
    monkeypatch.setattr(launching, "compile_kernel", lambda *a, kernel: asked.append(kernel) or real(*a, kernel=kernel))
    run(LAUNCH, arguments())
    assert asked == ["bias_gelu_fp32"]


def test_ptx_of_a_newer_cuda_than_the_drivers_is_not_loaded(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launching, "image_for", lambda capability: (120, "ptx"))
    monkeypatch.setattr("secateur.kernels.driver.driver_cuda", lambda: (12, 8))
    ptx = SimpleNamespace(image=b"//\n.version 9.0\n.target sm_120\n")
    monkeypatch.setattr(launching, "compile_kernel", lambda *a, **k: ptx)
    with pytest.raises(KernelError, match=r"needs a driver of CUDA 13\.0, and this one knows 12\.8: update the NVIDIA"):
        run(LAUNCH, arguments())
    assert "module" not in [call[0] for call in driver.log]
    monkeypatch.setattr("secateur.kernels.driver.driver_cuda", lambda: (13, 0))
    run(LAUNCH, arguments())


@pytest.mark.parametrize(
    ("refuse", "message"),
    [
        ("launch", r"refused to launch bias_gelu_fp32 with the grid \(3, 1, 1\) and 0 bytes.*invalid argument"),
        ("module", r"refused bias_gelu_fp32 for sm_87 \(cumodule failed"),
        ("function", r"refused bias_gelu_fp32 .*\(cufunction failed"),
        ("init", r"the CUDA driver does not start \(cuinit failed"),
    ],
)
def test_refusals_are_sentences_and_the_context_is_put_back(
    fresh: None, monkeypatch: pytest.MonkeyPatch, refuse: str, message: str
) -> None:
    fake = Driver(refuse)
    install(monkeypatch, fake)
    with pytest.raises(KernelError, match=message):
        run(LAUNCH, arguments())
    names = [call[0] for call in fake.log]
    assert names.count("push") == names.count("pop")


def test_without_pycuda_or_without_a_driver(fresh: None, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, Driver())
    assert why_not() == ""
    launching._driver.cache_clear()
    monkeypatch.setitem(sys.modules, "pycuda.driver", None)
    with pytest.raises(
        MissingPackageError, match=r"'pycuda' is not installed and the launch of a CUDA kernel needs it"
    ):
        run(LAUNCH, arguments())
    assert "pip install 'secateur[gpu]'" in why_not()

    def no_library(name: str) -> ModuleType:
        raise ImportError("libcuda.so.1: cannot open shared object file")

    monkeypatch.setattr(launching.importlib, "import_module", no_library)
    assert why_not().startswith("pycuda does not load (libcuda.so.1") and "install the NVIDIA driver" in why_not()


def test_why_not_names_what_the_device_lacks(fresh: None, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, Driver())
    assert why_not(1) == "PyTorch sees no CUDA device 1 here"
    old = SimpleNamespace(major=7, minor=0, multi_processor_count=80, shared_memory_per_block_optin=98304)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: old)
    launching._limits_of.cache_clear()
    assert "compute capability 7.0, and the kernels need 7.5" in why_not()


def test_limits_are_those_of_the_tensors_device(driver: Driver) -> None:
    assert device_limits(torch.device("cuda", 0)) == DeviceLimits(87, 8, 166912)
    with pytest.raises(KernelError, match="a tensor on cpu was given, but the kernels run on CUDA devices"):
        device_limits(torch.device("cpu"))


def test_the_table_is_copied_once(fresh: None) -> None:
    layout = HeadLayout((8, 16), (8, 8), 0.5)
    table = table_on(layout, torch.device("cpu"))
    assert table.dtype == torch.int32 and tuple(table.tolist()) == layout.table
    assert table_on(HeadLayout((8, 16), (8, 8), 0.5), torch.device("cpu")) is table


@pytest.mark.parametrize(
    ("capability", "image"),
    [
        (75, (75, "cubin")), (80, (80, "cubin")), (87, (87, "cubin")), (88, (87, "cubin")), (90, (90, "cubin")),
        (103, (100, "cubin")), (110, (110, "cubin")), (121, (120, "cubin")), (130, (120, "ptx")),
    ],
)  # fmt: skip
def test_the_image_that_a_device_loads(capability: int, image: tuple[int, str]) -> None:
    assert image_for(capability) == image


def test_a_device_older_than_all_is_refused() -> None:
    with pytest.raises(KernelError, match=r"capability 7\.0, but the kernels need 7\.5"):
        image_for(70)


@need_gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_kernels_on_a_gpu(dtype: torch.dtype) -> None:
    """In the default stream, in another one, and replayed by a CUDA graph, against float64 on the CPU."""
    layout = HeadLayout((64, 24, 8), (16, 64, 40), 0.125)
    qkv = torch.randn(4, 197, layout.row_width, generator=torch.Generator().manual_seed(0)).to(dtype)
    expected = portable.ragged_attention(qkv.double(), layout)
    limit = {torch.float32: 1e-5, torch.float16: 5e-3, torch.bfloat16: 4e-2}[dtype]
    x = qkv.cuda()

    def error(out: torch.Tensor) -> float:
        torch.cuda.synchronize()
        return float((out.cpu().double() - expected).norm() / expected.norm())

    assert error(on_gpu.ragged_attention(x, layout)) < limit
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        assert error(on_gpu.ragged_attention(x, layout)) < limit
    graph = torch.cuda.CUDAGraph()
    static = torch.zeros_like(x)
    with torch.cuda.graph(graph):
        out = ops.ragged_attention(static, layout.qk_dims, layout.v_dims, layout.scale)
    static.copy_(x)
    graph.replay()
    assert error(out) < limit
