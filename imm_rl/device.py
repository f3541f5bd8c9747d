"""Which device a name means on this machine, `torch_device("auto")`, and how tensors get there."""

from __future__ import annotations

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


def uploaded(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """A tensor of the host on a device; the host does not wait for what the device is doing."""
    if device.type == "cuda":
        tensor = tensor.pin_memory()  # from pageable memory the copy would wait
    return tensor.to(device, non_blocking=True)
