"""What the device can do at best, measured now: floating-point operations and bytes moved a second.

    python scripts/device_limits.py --device cuda

Benchmarks import `limits(device)` and set what they measure beside it. Each number is the median of several
rounds: of a square matrix product (2·n³ operations) in float32, in bfloat16 and, on a GPU, in float32 with
TF32 allowed; and of a copy of a large tensor, whose bytes are read once and written once.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import NamedTuple

import torch

from imm_rl.device import torch_device
from imm_rl.errors import InvalidInputError


class Limits(NamedTuple):
    """Of one device.

    Attributes:
        float32: Operations a second of a matrix product in float32 (without TF32).
        bfloat16: The same in bfloat16.
        tf32: The same in float32 with TF32; None where there is none.
        bandwidth: Bytes a second, read and written together.
    """

    float32: float
    bfloat16: float
    tf32: float | None
    bandwidth: float

    def text(self) -> str:
        """One line."""
        tf32 = "none" if self.tf32 is None else f"{self.tf32 / 1e12:.3g}"
        return (
            f"measured limits, TFLOP/s: float32 {self.float32 / 1e12:.3g}, TF32 {tf32}, "
            f"bfloat16 {self.bfloat16 / 1e12:.3g}; copy {self.bandwidth / 1e9:.3g} GB/s"
        )


def synchronize(device: torch.device) -> None:
    """Waits for the device."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds_of(work: Callable[[], object], device: torch.device, rounds: int) -> float:
    """Median seconds of some work, after a round to warm up."""
    found = []
    for i in range(rounds + 1):
        synchronize(device)
        start = time.perf_counter()
        work()
        synchronize(device)
        if i:
            found.append(time.perf_counter() - start)
    return statistics.median(found)


def product_rate(device: torch.device, dtype: torch.dtype, size: int, rounds: int) -> float:
    """Operations a second of a product of two (size, size) matrices."""
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    out = torch.empty_like(a)
    return 2 * size**3 / seconds_of(lambda: torch.matmul(a, b, out=out), device, rounds)


def limits(device: str | torch.device, *, size: int | None = None, rounds: int = 7) -> Limits:
    """Measures; takes about a second.

    Args:
        device: Which.
        size: Of the matrices; default: 8,192 on a GPU, 1,024 on the CPU.
        rounds: Of each measurement.
    """
    device = torch.device(device)
    cuda = device.type == "cuda"
    size = size or (8192 if cuda else 1024)
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("highest")
        full = product_rate(device, torch.float32, size, rounds)
        half = product_rate(device, torch.bfloat16, size, rounds)
        tf32 = None
        if cuda and torch.cuda.get_device_capability(device)[0] >= 8:
            torch.set_float32_matmul_precision("high")
            tf32 = product_rate(device, torch.float32, size, rounds)
    finally:
        torch.set_float32_matmul_precision(before)
    source = torch.ones((1 << 28) if cuda else (1 << 24), dtype=torch.float32, device=device)
    target = torch.empty_like(source)
    moved = 2 * source.numel() * source.element_size()
    return Limits(
        full, half, tf32, moved / seconds_of(lambda: target.copy_(source), device, rounds)
    )


def peak_bytes(device: torch.device) -> int:
    """The most memory so far: allocated on a GPU since `start_peak`; of this process on the CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return 1024 * status("VmHWM")


def start_peak(device: torch.device) -> int:
    """Counts the peak from here on; returns the bytes that are held now."""
    if device.type == "cuda":
        synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        return torch.cuda.memory_allocated(device)
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")
    return 1024 * status("VmRSS")


def checked_device(parser: argparse.ArgumentParser, name: str) -> torch.device:
    """The device that a script was asked for; ends with one line where there is none."""
    try:
        return torch_device(name)
    except InvalidInputError as error:
        parser.error(str(error))


def status(name: str) -> int:
    """A number of /proc/self/status, in KiB."""
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(name))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", default="cpu", help="auto, cpu (default) or cuda")
    parser.add_argument("--rounds", type=int, default=7, help="of a measurement (default: 7)")
    args = parser.parse_args()
    chosen = checked_device(parser, args.device)
    print(limits(chosen, rounds=args.rounds).text(), f"({torch.get_num_threads()} threads)")
