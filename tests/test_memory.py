"""Reused memory: whoever holds a result never sees it change."""
import gc
import pickle
import threading
import tracemalloc

import numpy as np
import pytest

import layers
from cnn import ConvNet
from layers import conv_backward, conv_forward, empty, max_pool_forward, relu_forward, zeros

LARGE = (64, 1024)                      # 256 KB of float32: within what is reused


@pytest.fixture(autouse=True)
def no_free_blocks():
    layers._free_blocks.clear()


@pytest.fixture(autouse=True, scope="module")
def collections_are_short():
    """Garbage is collected often here: among what these tests make, not what others left."""
    gc.freeze()
    yield
    gc.unfreeze()


def address(array):
    return array.__array_interface__["data"][0]


def test_memory_is_reused_once_nobody_refers_to_it():
    """Else all of the tests below would be about nothing."""
    array = empty(LARGE, np.float32)
    before = address(array)
    del array
    assert address(empty(LARGE, np.float32)) == before


@pytest.mark.parametrize("keep", [
    lambda a: a, lambda a: a[3:5], lambda a: a.T, lambda a: a.reshape(-1)[7:8],
    lambda a: a.view(np.int32), lambda a: memoryview(a), lambda a: iter(a),
    lambda a: np.lib.stride_tricks.sliding_window_view(a, 5, axis=1),
    lambda a: np.broadcast_to(a[0], (9, 1024)), lambda a: a.flat, lambda a: {"deep": [(a[1:],)]},
    lambda a: np.asarray(memoryview(a)), lambda a: a[0, :1].squeeze(),
    lambda a: np.ma.masked_array(a), lambda a: a.data, lambda a: a.__array_interface__ and a[::2],
    lambda a: np.split(a, 4), lambda a: np.frombuffer(a, np.float32), lambda a: a.real,
    lambda a: np.atleast_3d(a), lambda a: a.byteswap is None or a[-1],
    lambda a: np.from_dlpack(a)])
def test_any_kind_of_reference_keeps_a_result_as_it_is(keep):
    array = zeros(LARGE, np.float32)
    place, held = address(array), keep(array)
    del array
    gc.collect()
    others = [empty(LARGE, np.float32) for _ in range(20)]
    assert all(address(other) != place for other in others)


def test_a_cycle_gives_its_memory_back_after_collection():
    array = empty(LARGE, np.float32)
    place = address(array)
    cycle = [array]
    cycle.append(cycle)
    del array, cycle
    gc.collect()
    assert address(empty(LARGE, np.float32)) == place


def test_two_results_never_share_memory():
    arrays = [empty(LARGE, np.float32) for _ in range(30)]
    assert len({address(array) for array in arrays}) == 30


def test_results_survive_whatever_comes_after_them():
    """Outputs, caches and gradients of many calls, some dropped at random, none of them changes."""
    rng = np.random.default_rng(0)
    held = []
    for _ in range(300):
        x = rng.standard_normal((int(rng.integers(1, 6)), 3, 40, 40)).astype(np.float32)
        w = rng.standard_normal((8, 3, 5, 5)).astype(np.float32)
        out, cache = conv_forward(x, w)
        pooled, _ = max_pool_forward(out, {"pool_height": 2, "pool_width": 2, "stride": 2})
        active, _ = relu_forward(out)
        dx, _ = conv_backward(active, cache)
        for result in (out, pooled, active[:, 2:5], dx.T):
            held.append((result, result.copy()))
        held = [held[i] for i in np.flatnonzero(rng.random(len(held)) < 0.8)]
        for result, copy in held:
            np.testing.assert_array_equal(result, copy)


def test_results_survive_in_two_threads():
    """Each thread trains, holds what it got, and looks at it again and again."""
    failures = []

    def work(seed):
        rng = np.random.default_rng(seed)
        x = rng.standard_normal((20, 1, 28, 28)).astype(np.float32)
        y = rng.integers(0, 10, 20)
        model = ConvNet(num_filters=8, filter_size=5, hidden_dim=20, rng=seed)
        loss, grads = model.loss(x, y)
        expected = {name: grad.copy() for name, grad in grads.items()}
        held = []
        for _ in range(60):
            again, grads = model.loss(x, y)
            held.append(grads)
            held = held[-3:]
            for kept in held:
                if again != loss or any(not np.array_equal(kept[name], expected[name])
                                        for name in expected):
                    failures.append(seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_threads_that_allocate_at_once_get_different_memory():
    seen, barrier = [], threading.Barrier(4)

    def work(mark):
        barrier.wait()
        for _ in range(500):
            array = empty(LARGE, np.float32)
            array.fill(mark)
            if not (array == mark).all():
                seen.append(mark)

    threads = [threading.Thread(target=work, args=(mark,)) for mark in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not seen


def test_free_memory_is_bounded():
    for size in range(100):
        empty((100_000 + 1000 * size,), np.float32)
    assert len(layers._free_blocks) <= 16
    assert not layers._references


@pytest.mark.parametrize("N", [20, 400])
def test_extra_memory_of_the_convolution_does_not_grow_with_the_batch(N):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((N, 4, 28, 28)).astype(np.float32)
    w = rng.standard_normal((8, 4, 5, 5)).astype(np.float32)
    tracemalloc.start()
    try:
        out, cache = conv_forward(x, w)
        dx, dw = conv_backward(out, cache)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak - out.nbytes - dx.nbytes - dw.nbytes < 8e6


def test_results_can_be_written_to_and_copied():
    array = empty(LARGE, np.float32)
    assert array.flags.writeable and array.flags.c_contiguous and array.flags.aligned
    array[...] = 3
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(array)), array)
