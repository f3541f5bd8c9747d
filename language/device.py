"""Which device a name means on this machine: `torch_device("auto")`."""

from __future__ import annotations

import torch

from imm_rl.errors import invalid, unknown_name

NAMES = ("auto", "cpu", "cuda")


def torch_device(name: str) -> torch.device:
    """The device that `auto`, `cpu` or `cuda` means; `auto` is the GPU where PyTorch finds one.

    Raises:
        InvalidInputError: Another name, or `cuda` without a GPU.
    """
    if name not in NAMES:
        raise unknown_name("device", name, NAMES)
    found = torch.cuda.is_available()
    if name == "cuda" and not found:
        raise invalid(
            "device",
            "be a device that PyTorch finds on this machine",
            name,
            "Use 'cpu' or 'auto', or a build of PyTorch that finds the GPU",
        )
    return torch.device("cuda" if found and name != "cpu" else "cpu")
