"""The MACs of single operations against their definitions, and of einsums against PyTorch's own counter."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.backends import opt_einsum
from torch.utils.flop_counter import FlopCounterMode

from secateur.benchmarks.flops import count_macs
from secateur.benchmarks.mac_handlers import FREE, HANDLERS, einsum_macs
from tests.counting import Wrapped

B, N, K, M = 2, 6, 8, 5
x = torch.randn(B, N, K)
OPERATIONS: list[tuple[str, Callable[[Tensor], Tensor], int]] = [
    ("matmul", lambda t: t @ torch.ones(K, M), B * N * K * M),
    ("matmul of a broadcast left side", lambda t: torch.ones(M, N) @ t, B * M * N * K),
    ("matmul with a vector", lambda t: t @ torch.ones(K), B * N * K),
    ("mm", lambda t: torch.mm(t[0], torch.ones(K, M)), N * K * M),
    ("bmm", lambda t: torch.bmm(t, t.transpose(1, 2)), B * N * K * N),
    ("addmm", lambda t: torch.addmm(torch.ones(M), t[0], torch.ones(K, M)), N * K * M),
    ("baddbmm", lambda t: torch.baddbmm(torch.zeros(B, N, N), t, t.transpose(1, 2)), B * N * K * N),
    ("addbmm", lambda t: torch.addbmm(torch.zeros(N, N), t, t.transpose(1, 2)), B * N * K * N),
    ("mv", lambda t: torch.mv(t[0], torch.ones(K)), N * K),
    ("addmv", lambda t: torch.addmv(torch.zeros(N), t[0], torch.ones(K)), N * K),
    ("dot", lambda t: t[0, 0].dot(t[0, 1]), K),
    ("inner", lambda t: torch.inner(t, torch.ones(M, K)), B * N * M * K),
    ("tensordot", lambda t: torch.tensordot(t, torch.ones(N, K, M), 2), B * N * K * M),
    ("vecdot", lambda t: torch.linalg.vecdot(t, torch.ones(N, K), dim=1), B * N * K),
    ("multi_dot", lambda t: torch.linalg.multi_dot([t[0], torch.ones(K, 1), torch.ones(1, M)]), N * K + N * M),
    ("multi_dot from its end", lambda t: torch.linalg.multi_dot([t[0], torch.ones(K, M), torch.ones(M)]), (N + M) * K),
    ("chain_matmul", lambda t: torch.chain_matmul(t[0], torch.ones(K, M), torch.ones(M, 2)), (N + M) * K * 2),
    ("bilinear", lambda t: nn.functional.bilinear(t, t[..., :3], torch.ones(M, K, 3)), B * N * M * K * 3),
    ("outer products", lambda t: torch.kron(t[0, 0].outer(t[1, 0]), t[0]), 0),
    ("what is looked up", lambda t: nn.functional.embedding_bag(t[..., 0].argsort(), t[0]) + t.median(), 0),
    ("einsum", lambda t: torch.einsum("bnk,bmk->bnm", t, t), B * N * N * K),
    ("einsum of three", lambda t: torch.einsum("bnk,bmk,bmj->bnj", t, t, t), 2 * B * N * N * K),
    ("distances", lambda t: torch.cdist(t, torch.ones(B, M, K)), B * N * M * K),
    ("a matrix power", lambda t: torch.linalg.matrix_power(t[..., :N], 3), 2 * B * N**3),
    ("another power", lambda t: torch.linalg.matrix_power(t[..., :N], 12), 4 * B * N**3),  # 2, 4, 8, and 8 + 4
    ("no power", lambda t: torch.linalg.matrix_power(t[..., :N], 1), 0),
    ("an inverse power", lambda t: torch.linalg.matrix_power(t[..., :N] + torch.eye(N), -2), 2 * B * N**3),
    ("fft", lambda t: torch.fft.fft(t).real, B * N * 5 * K * 3 // 2),  # of K = 2 ** 3 numbers
    ("ifft of more", lambda t: torch.fft.ifft(t, n=16, dim=1).real, B * K * 5 * 16 * 4 // 2),
    ("fft2", lambda t: torch.fft.fft2(t[:, :4]).real, B * 5 * 32 * 5 // 2),
    ("fftn", lambda t: torch.fft.fftn(t[:, :4]).real, 5 * 64 * 6 // 2),
    ("rfft", lambda t: torch.fft.rfft(t).real, B * N * 5 * K * 3 // 4),
    ("rfft of more", lambda t: torch.fft.rfft(t, n=16).real, B * N * 5 * 16 * 4 // 4),
    ("irfft2", lambda t: torch.fft.irfft2(t[:, :4] + 0j, s=(4, 8)), B * 5 * 32 * 5 // 4),
    ("conv1d", lambda t: nn.functional.conv1d(t, torch.ones(M, N, 3), padding=1), B * K * M * N * 3),
    ("conv1d 'same'", lambda t: nn.functional.conv1d(t, torch.ones(M, N, 3), padding="same"), B * K * M * N * 3),
    ("grouped conv1d", lambda t: nn.functional.conv1d(t, torch.ones(N, 1, 3), groups=N), B * (K - 2) * N * 3),
    (
        "transposed conv1d",
        lambda t: nn.functional.conv_transpose1d(t, torch.ones(N, M, 3), stride=2),
        B * K * N * M * 3,
    ),
    ("conv3d", lambda t: nn.functional.conv3d(t[:, None, None], torch.ones(M, 1, 1, 3, 3)), B * M * 4 * 6 * 9),
    (
        "attention",
        lambda t: nn.functional.scaled_dot_product_attention(t, t, torch.ones(B, N, M)),
        B * N * N * (K + M),
    ),
    (
        "grouped-query attention",
        lambda t: nn.functional.scaled_dot_product_attention(
            t.reshape(B, 4, 3, 4), torch.ones(B, 2, 7, 4), torch.ones(B, 2, 7, 4), enable_gqa=True
        ),
        B * 4 * 3 * 7 * 8,
    ),
]


@pytest.mark.parametrize(("function", "macs"), [row[1:] for row in OPERATIONS], ids=[row[0] for row in OPERATIONS])
def test_an_operation_against_its_definition(function: Callable[[Tensor], Tensor], macs: int) -> None:
    cost = count_macs(Wrapped(function), x)
    assert (cost.macs, cost.unsupported) == (macs, {})


def test_fused_modules_of_torch() -> None:
    attention = nn.MultiheadAttention(K, 2, batch_first=True)
    self_attention = 4 * B * N * K * K + 2 * B * N * N * K
    model = Wrapped(lambda t: attention(t, t, t, need_weights=False)[0], attention=attention)
    assert count_macs(model, x).macs == self_attention
    weights = Wrapped(lambda t: attention(t, t, t)[0], attention=attention)
    assert count_macs(weights, x).macs == self_attention
    layer = nn.TransformerEncoderLayer(K, 2, 16, batch_first=True)
    assert count_macs(Wrapped(layer, layer=layer), x).macs == self_attention + 2 * B * N * K * 16


def test_recurrent_cells() -> None:
    lstm = nn.LSTM(K, M, num_layers=2, bidirectional=True, batch_first=True)
    steps, gates = B * N, 4
    expected = 2 * steps * gates * M * ((K + M) + (2 * M + M))  # two directions; the second layer reads both
    assert count_macs(Wrapped(lambda t: lstm(t)[0], lstm=lstm), x).macs == expected
    gru = nn.GRU(K, M)
    assert count_macs(Wrapped(lambda t: gru(t)[0], gru=gru), x).macs == steps * 3 * M * (K + M)


def test_packed_sequences_cost_what_their_steps_do() -> None:
    for cell, gates in ((nn.LSTM, 4), (nn.GRU, 3), (nn.RNN, 1)):
        layer = cell(K, M)

        def packed(t: Tensor, layer: nn.Module = layer) -> Tensor:
            sequence = nn.utils.rnn.pack_padded_sequence(t, torch.tensor([N, N - 2]), batch_first=True)
            return layer(sequence)[0].data  # type: ignore[no-any-return]  # a packed sequence

        found = count_macs(Wrapped(packed, layer=layer), x)
        assert found.macs == (2 * N - 2) * gates * M * (K + M)


def test_no_operation_is_both_free_and_counted() -> None:
    assert FREE.isdisjoint(HANDLERS)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_einsum_does_what_torch_does(data: st.DataObject) -> None:
    letters = "abcde"
    sizes = {letter: data.draw(st.integers(2, 4)) for letter in letters}  # torch takes sizes of 1 for broadcasting
    operands = data.draw(st.integers(2, 3))
    terms = ["".join(data.draw(st.permutations(letters))[: data.draw(st.integers(1, 4))]) for _ in range(operands)]
    every = sorted(set("".join(terms)))
    out = "".join(data.draw(st.permutations(every))[: data.draw(st.integers(0, len(every)))])
    equation = f"{','.join(terms)}->{out}"
    tensors = [torch.zeros([sizes[letter] for letter in term]) for term in terms]
    with FlopCounterMode(display=False) as counter, opt_einsum.flags(enabled=False):
        torch.einsum(equation, *tensors)
    assert 2 * einsum_macs(equation, [tensor.shape for tensor in tensors]) == counter.get_total_flops()


def test_einsum_with_an_ellipsis_and_without_an_arrow() -> None:
    assert einsum_macs("...nk,...mk->...nm", [(2, 3, 4, 5), (2, 3, 6, 5)]) == 2 * 3 * 4 * 6 * 5
    assert einsum_macs("...nk,km->...nm", [(2, 3, 4, 5), (5, 6)]) == 2 * 3 * 4 * 6 * 5
    assert einsum_macs("ij,jk", [(2, 3), (3, 4)]) == 2 * 3 * 4


def test_einsum_follows_a_given_path() -> None:
    shapes = [(10, 20), (20, 30), (30, 2)]
    assert einsum_macs("ij,jk,kl->il", shapes) == 10 * 20 * 30 + 10 * 30 * 2
    assert einsum_macs("ij,jk,kl->il", shapes, (1, 2, 0, 1)) == 20 * 30 * 2 + 10 * 20 * 2
