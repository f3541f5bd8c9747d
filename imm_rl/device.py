"""Which device a name means on this machine, `torch_device("auto")`, and how numbers get there."""

from __future__ import annotations

from typing import Any

import numpy.typing as npt
import torch

from imm_rl.errors import InvalidInputError, unknown_name

NAMES = ("auto", "cpu", "cuda")


def torch_device(name: str | torch.device) -> torch.device:
    """The device that `auto`, `cpu` or `cuda` means; `auto` is the GPU where PyTorch finds one.

    A device is taken for its type.

    Raises:
        InvalidInputError: Another name, or `cuda` without a GPU.
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
    return torch.device("cuda" if found and name != "cpu" else "cpu")


def uploaded(
    array: npt.NDArray[Any], device: torch.device, dtype: torch.dtype | None = None
) -> torch.Tensor:
    """A NumPy array on the device, without the host waiting for what the device was asked before.

    A plain copy to a GPU waits for all work that is queued; one from page-locked memory is queued itself.

    Args:
        array: What PyTorch can share memory with, or a copy is made. On the CPU the tensor may share the
            array's memory.
        device: Where to.
        dtype: Of the tensor; default: the array's.
    """
    # torch shares neither read-only memory nor reversed views.
    shareable = array.flags.writeable and array.flags.c_contiguous
    tensor = torch.from_numpy(array if shareable else array.copy())
    if dtype is not None:
        tensor = tensor.to(dtype)
    if device.type == "cuda":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)
