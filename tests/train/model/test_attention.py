"""Attention backends against each other and against a loop; who sees whom."""

import importlib.util

import pytest
import torch

from edgebehave_train.model.attention import (
    BACKENDS,
    choose_backend,
    plan_attention,
    sliding_window_attention,
)

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
needs_flash = pytest.mark.skipif(importlib.util.find_spec("flash_attn") is None, reason="needs the package flash-attn")

NUM_HEADS, HEAD_WIDTH = 2, 4


def random_segments(num_rows: int, num_events: int, seed: int = 0) -> torch.Tensor:
    """Rows of users with 1 to 9 events, padding (-1) at the end of the last row."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, 10, (num_rows, num_events), generator=generator)
    rows = [
        torch.repeat_interleave(torch.arange(num_events) + 100 * i, row)[:num_events] for i, row in enumerate(lengths)
    ]
    segments = torch.stack(rows)
    segments[-1, num_events - num_events // 4 :] = -1
    return segments


def random_qkv(segment_BT: torch.Tensor, seed: int = 1) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shape = (*segment_BT.shape, NUM_HEADS, HEAD_WIDTH)
    return [torch.randn(shape, generator=generator).requires_grad_() for _ in range(3)]


def attend(qkv, segment_BT, window, backend):
    return sliding_window_attention(*qkv, plan_attention(segment_BT, window, backend))


def visible_events(segment_T: torch.Tensor, t: int, window: int) -> list[int]:
    """The definition: same user, not later, at most window - 1 back."""
    return [s for s in range(max(0, t - window + 1), t + 1) if segment_T[s] == segment_T[t]]


@pytest.mark.parametrize("backend", ["dense", "blockwise"])
def test_a_backend_equals_the_definition_event_by_event(backend):
    segment_BT, window = random_segments(2, 11), 4
    qkv = random_qkv(segment_BT)
    attended = attend(qkv, segment_BT, window, backend)
    query, key, value = (x.detach() for x in qkv)
    for row in range(2):
        for t in range(11):
            seen = visible_events(segment_BT[row], t, window)
            for head in range(NUM_HEADS):
                scores = key[row, seen, head] @ query[row, t, head] / HEAD_WIDTH**0.5
                expected = scores.softmax(0) @ value[row, seen, head]
                torch.testing.assert_close(attended[row, t, head], expected)


@pytest.mark.parametrize("num_events", [1, 5, 8, 13, 30])
@pytest.mark.parametrize("window", [1, 3, 8, 40])
def test_blockwise_equals_dense_in_values_and_gradients(num_events, window):
    segment_BT = random_segments(3, num_events, seed=num_events)
    results = []
    for backend in ("dense", "blockwise"):
        qkv = random_qkv(segment_BT)
        attended = attend(qkv, segment_BT, window, backend)
        attended.square().sum().backward()
        results.append((attended, *(x.grad for x in qkv)))
    for dense, blockwise in zip(*results, strict=True):
        torch.testing.assert_close(blockwise, dense, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("backend", ["dense", "blockwise"])
def test_keys_and_values_reach_whom_they_may_and_nobody_else(backend):
    segment_BT, window = random_segments(1, 21), 5
    for t in range(21):
        query, key, value = random_qkv(segment_BT)
        attend((query, key, value), segment_BT, window, backend)[0, t].sum().backward()
        seen = visible_events(segment_BT[0], t, window)
        assert value.grad[0].abs().sum((1, 2)).nonzero()[:, 0].tolist() == seen
        reached = key.grad[0].abs().sum((1, 2)).nonzero()[:, 0].tolist()
        assert set(reached) <= set(seen)
        assert query.grad[0].abs().sum((1, 2)).nonzero()[:, 0].tolist() in ([t], [])


def test_the_same_user_in_two_rows_is_two_segments():
    segment_BT = torch.full((2, 6), 7)
    query, key, value = random_qkv(segment_BT)
    attend((query, key, value), segment_BT, 4, "blockwise")[1].sum().backward()
    assert not value.grad[0].any()


def test_half_precision_comes_back_as_it_went_in():
    segment_BT = random_segments(2, 13)
    qkv = [x.detach() for x in random_qkv(segment_BT)]
    half = attend([x.bfloat16() for x in qkv], segment_BT, 4, "blockwise")
    assert half.dtype == torch.bfloat16
    exact = attend(qkv, segment_BT, 4, "dense")
    torch.testing.assert_close(half.float(), exact, atol=0.03, rtol=0.03)  # 8 bits of mantissa


@pytest.mark.parametrize("backend", ["flash_attn", "varlen"])
def test_borders_stand_where_a_user_or_a_row_ends(backend):
    segment_BT = torch.tensor([[1, 1, 2, -1], [-1, 3, 3, 3], [3, 3, 4, 4]])
    plan = plan_attention(segment_BT, 2, backend)
    assert plan.cumulative_lengths.tolist() == [0, 2, 3, 4, 5, 8, 10, 12]
    assert plan.cumulative_lengths.dtype == torch.int32
    assert plan.max_length == 3
    one_event = plan_attention(torch.tensor([[5]]), 2, backend)
    assert one_event.cumulative_lengths.tolist() == [0, 1]


@needs_cuda
@pytest.mark.parametrize("backend", ["varlen", pytest.param("flash_attn", marks=needs_flash)])
@pytest.mark.parametrize("window", [1, 3, 8])
def test_fused_kernels_equal_dense_on_a_gpu(backend, window):
    segment_BT = random_segments(3, 29).cuda()
    # The kernels want heads of at least 8; bfloat16 keeps 8 bits, sums of a few terms lose one.
    generator = torch.Generator().manual_seed(0)
    shape = (3, 29, NUM_HEADS, 32)
    qkv = [torch.randn(shape, generator=generator).cuda().bfloat16() for _ in range(3)]
    results = []
    for name in ("dense", backend):
        leaves = [x.clone().requires_grad_() for x in qkv]
        attended = attend(leaves, segment_BT, window, name)
        attended.float().square().sum().backward()
        results.append((attended, *(x.grad for x in leaves)))
    for dense, fused in zip(*results, strict=True):
        torch.testing.assert_close(fused.float(), dense.float(), atol=0.05, rtol=0.05)


def test_the_backend_follows_device_and_type(monkeypatch):
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    assert choose_backend(cpu, torch.float32) == "blockwise"
    assert choose_backend(cpu, torch.bfloat16) == "blockwise"
    for found, expected in ((None, "varlen"), ("a spec", "flash_attn")):
        monkeypatch.setattr(importlib.util, "find_spec", lambda name, found=found: found)
        assert choose_backend(cuda, torch.bfloat16) == expected
    with pytest.warns(UserWarning, match="runs blockwise; bfloat16 would use a fused kernel"):
        assert choose_backend(cuda, torch.float32) == "blockwise"


def test_an_unknown_backend_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="must be one of") as refusal:
        plan_attention(torch.zeros(1, 3, dtype=torch.int64), 2, "magic")
    assert all(name in str(refusal.value) for name in (*BACKENDS, "magic"))


def test_torch_has_the_window_that_the_varlen_backend_calls(monkeypatch):
    from torch.nn.attention import varlen

    from edgebehave_train.model.attention import choose_backend

    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert choose_backend(torch.device("cuda"), torch.bfloat16) == "varlen"
    monkeypatch.setattr(varlen, "varlen_attn", lambda query, key, value, cu_seq_q, cu_seq_k, max_q, max_k: query)
    with pytest.raises(ValueError, match=r"torch .* has no varlen_attn with window_size; pip install 'torch>=2\.11'"):
        choose_backend(torch.device("cuda"), torch.bfloat16)
