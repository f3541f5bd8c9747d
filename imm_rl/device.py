"""Which device a name means on this machine: `torch_device("auto")`."""

from __future__ import annotations

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
