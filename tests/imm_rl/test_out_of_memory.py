"""Which errors mean that memory was missing, from real failures, and what is said of them."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch

from imm_rl.out_of_memory import is_out_of_memory, message


def failure_of(allocate) -> BaseException:  # type: ignore[no-untyped-def]
    with pytest.raises((MemoryError, RuntimeError)) as caught:
        allocate()
    return caught.value


FAILURES = {
    "torch": lambda: torch.empty(2**60, dtype=torch.uint8),
    "torch product": lambda: torch.ones(2**28, 1) @ torch.ones(1, 2**28),
    "numpy": lambda: np.ones(2**58),
    "python": lambda: bytearray(2**62),
}


@pytest.mark.parametrize("name", FAILURES)
def test_is_out_of_memory_knows_real_failures(name: str) -> None:
    assert is_out_of_memory(failure_of(FAILURES[name]))


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate`"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), True),
        (OSError(12, "Cannot allocate memory"), True),
        (ImportError("libtorch.so: failed to map segment: Cannot allocate memory"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (OSError(28, "No space left on device"), False),
        (ValueError("not enough memory of what was said"), False),
        (KeyError("out of memory"), False),
    ],
)
def test_is_out_of_memory_tells_errors_apart(error: Exception, expected: bool) -> None:
    assert is_out_of_memory(error) == expected


@pytest.mark.parametrize(
    ("name", "amount"), [("torch", "1 EiB"), ("numpy", "2.00 EiB"), ("torch product", "256 PiB")]
)
def test_message_says_how_much_was_asked_for(name: str, amount: str) -> None:
    told = message(failure_of(FAILURES[name]), "train", "Go on.")
    assert told.startswith(f"out of memory: memory ended where {amount} more were asked for. What")
    assert told.endswith("or to end what else uses it. Go on.")


@pytest.mark.parametrize(
    ("command", "remedy"),
    [
        ("train", "fewer --seeds"),
        ("lm train", "--method serialized"),
        ("reproduce figure-2", "fewer --runs"),
        ("reproduce table-1", "fewer --jobs"),
        ("solve --env", "qmdp"),
    ],
)
def test_message_names_what_to_make_smaller_by_command(command: str, remedy: str) -> None:
    error = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has")
    told = message(error, command)
    assert told.startswith(
        "out of memory: the GPU's memory ended where 2.00 GiB more were asked for."
    )
    assert remedy in told


def test_a_command_without_a_remedy_has_none() -> None:
    assert message(MemoryError(), "envs") == "out of memory: memory ended."


def test_the_module_is_free_of_torch_and_numpy() -> None:
    code = "import sys, imm_rl.out_of_memory; print({'torch', 'numpy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
