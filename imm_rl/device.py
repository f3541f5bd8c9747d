"""Which device a name means on this machine, `torch_device("auto")`, and how numbers get there."""

from __future__ import annotations

from typing import Any

import numpy.typing as npt
import torch

from imm_rl.errors import InvalidInputError, unknown_name

NAMES = ("auto", "cpu", "cuda")


def torch_device(name: str | torch.device, index: int | None = None) -> torch.device:
    """The device that `auto`, `cpu` or `cuda` means; `auto` is the GPU where PyTorch finds one.

    A device is taken for its type.

    Args:
        name: The name.
        index: Which GPU, for several processes of a machine that each have one; None: PyTorch's
            current one. Of no account on the CPU.

    Raises:
        InvalidInputError: Another name, `cuda` without a GPU, or fewer GPUs than `index` + 1.
    """
    if isinstance(name, torch.device):
        name = name.type
    if name not in NAMES:
        raise unknown_name("device", name, NAMES)
    found = torch.cuda.is_available()
    if name == "cuda" and not found:
        raise InvalidInputError(
            "device 'cuda' was asked for, and PyTorch finds no CUDA device here. Use 'cpu' or 'auto'."
        )
    if not found or name == "cpu":
        return torch.device("cpu")
    if index is None:
        return torch.device("cuda")
    if index >= torch.cuda.device_count():
        raise InvalidInputError(
            f"process {index} of this machine finds {torch.cuda.device_count()} GPUs, and each process "
            "needs one of its own. Start fewer processes on it, or use --device cpu."
        )
    return torch.device("cuda", index)


def uploaded(
    numbers: npt.NDArray[Any] | torch.Tensor,
    device: torch.device,
    dtype: torch.dtype | None = None,
) -> torch.Tensor:
    """Numbers of the host on a device; the host does not wait for what the device was asked before.

    A plain copy to a GPU waits for all work that is queued; one from page-locked memory is queued itself.

    Args:
        numbers: An array or a tensor of the host. On the CPU the result may share its memory.
        device: Where to.
        dtype: Of the result; default: that of the numbers.
    """
    tensor = numbers if isinstance(numbers, torch.Tensor) else _shared(numbers)
    if dtype is not None:
        tensor = tensor.to(dtype)
    if device.type == "cuda":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


def _shared(array: npt.NDArray[Any]) -> torch.Tensor:
    """A tensor on an array's memory, or on a copy where PyTorch can share none."""
    # Neither read-only memory nor reversed views.
    shareable = array.flags.writeable and array.flags.c_contiguous
    return torch.from_numpy(array if shareable else array.copy())
