"""The same run twice gives the same bits: settings of torch, seeds, and the state of every random generator.

This holds for one version of torch on one kind of processor. Another CPU generation or GPU model may round differently:
https://docs.pytorch.org/docs/stable/notes/randomness.html.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

# With two threads torch splits sums in other places than with one, and the weights differ after a few updates; so the
# result would depend on how many cores a machine has. On images this small the second thread gains little anyway.
THREADS = 1


@contextmanager
def deterministic() -> Iterator[None]:
    """Only deterministic algorithms and a fixed number of threads inside; the previous settings afterwards.

    An operation that has no deterministic implementation on the device raises RuntimeError. Enter this before the
    process first touches CUDA: cuBLAS reads its workspace setting only then.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    threads, algorithms = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    cudnn = torch.backends.cudnn
    search = cudnn.benchmark
    torch.set_num_threads(THREADS)
    torch.use_deterministic_algorithms(mode=True)
    cudnn.benchmark = False
    try:
        yield
    finally:
        cudnn.benchmark = search
        torch.use_deterministic_algorithms(mode=algorithms)
        torch.set_num_threads(threads)


def seed_generators(seed: int) -> None:
    """Seed the process-wide generators of Python, numpy and torch (CPU and every GPU)."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def generator_states() -> dict[str, Any]:
    """The state of every process-wide generator, as tensors and plain data."""
    legacy = np.random.get_state(legacy=False)
    assert isinstance(legacy, dict)
    version, words, gauss = random.getstate()
    return {
        "python": {"version": version, "words": list(words), "gauss": gauss},
        "numpy": legacy | {"state": {"key": legacy["state"]["key"].tolist(), "pos": legacy["state"]["pos"]}},
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def restore_generators(states: Mapping[str, Any]) -> None:
    """Put the process-wide generators back to `generator_states()`.

    The generators of GPUs are restored only where the number of GPUs is the same: elsewhere they keep their seed.
    """
    python = states["python"]
    random.setstate((python["version"], tuple(python["words"]), python["gauss"]))
    np.random.set_state(states["numpy"])
    torch.set_rng_state(states["torch"])
    if torch.cuda.is_available() and len(states["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(states["cuda"])
