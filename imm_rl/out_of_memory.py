"""What to tell a user whose command ran out of memory, of the GPU or of the machine. Free of torch.

`imm_rl.cli` asks for every command, `imm_rl.cli.running` for those that train in a run folder. Nothing is
rescued here: what a training had saved before is on the disk, and `--resume` takes it up.
"""

from __future__ import annotations

import errno
import re

_SIGNS = (
    "DefaultCPUAllocator",
    "can't allocate memory",
    "not enough memory",
    "out of memory",
    "Cannot allocate memory",
    "failed to map segment",
    "could not create a primitive",
    "could not create a memory object",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
)
"""In the text of a RuntimeError of PyTorch, CUDA, oneDNN (the last two: it gives no reason, and in a
training that worked before there is no other) or of the system's loader, where memory is what is missing.
"""

_AMOUNT = re.compile(r"(?:[Tt]ried to allocate|Unable to allocate) ([\d.]+) ?(bytes|[KMGTPE]iB)")

_REMEDIES = (
    (
        "lm ",
        "a smaller batch_size, unroll or hidden_size; with method sampled a smaller k or contexts, or "
        "--method serialized, whose memory does not grow with k",
    ),
    (
        "train",
        "fewer --seeds at a time, a smaller n_envs, n_steps or hidden_sizes, for ppo and a2c a smaller "
        "batch_size",
    ),
    ("compare", "fewer --seeds at a time, or a smaller n_envs, n_steps or hidden_sizes"),
    ("sweep", "fewer workers at a time, fewer seeds of a point, or a smaller network"),
    (
        "reproduce table",
        "fewer --jobs at a time, or in a --config a smaller batch_size, k or hidden_size, with k large "
        "the method serialized",
    ),
    ("reproduce", "fewer --runs"),
    ("solve", "a solver with fewer vectors (--method qmdp or fib), or a shorter --time-limit"),
    ("evaluate", "fewer --episodes at a time"),
)
"""What to make smaller, by what the command begins with."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory could not be had.

    Python's and NumPy's `MemoryError`, `torch.OutOfMemoryError` of a GPU, PyTorch's RuntimeError of the
    CPU's allocator, and what the operating system says.
    """
    if isinstance(error, MemoryError):
        return True
    if type(error).__name__ == "OutOfMemoryError":  # torch's; torch may not be loaded
        return True
    if isinstance(error, OSError) and error.errno == errno.ENOMEM:
        return True
    known = isinstance(error, RuntimeError | ImportError | OSError)
    return known and any(sign in str(error) for sign in _SIGNS)


def message(error: BaseException, command: str, how_to_go_on: str = "") -> str:
    """One line for the user.

    Args:
        error: One that `is_out_of_memory`.
        command: What ran, without `imm-rl`: `train`, `lm train`, `reproduce table-1`.
        how_to_go_on: A sentence about what is kept, or nothing.
    """
    text = str(error)
    where = "the GPU's memory" if "CUDA" in text or "GPU" in text else "memory"
    amount = _amount(text)
    asked = f" where {amount} more were asked for" if amount else ""
    remedy = next((told for begin, told in _REMEDIES if command.startswith(begin)), "")
    smaller = f" What helps: {remedy}; or to end what else uses it." if remedy else ""
    return f"out of memory: {where} ended{asked}.{smaller} {how_to_go_on}".rstrip()


def _amount(text: str) -> str:
    found = _AMOUNT.search(text)
    if found is None:
        return ""
    number, unit = found[1].rstrip("."), found[2]
    if unit != "bytes":
        return f"{number} {unit}"
    size, names = float(number), ["bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"]
    while size >= 1024.0 and len(names) > 1:
        size /= 1024.0
        del names[0]
    return f"{size:.3g} {names[0]}"
