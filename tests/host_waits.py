"""`no_host_waits()`: fails where the code inside would make the host wait for a GPU, on a CPU too.

    with no_host_waits():
        agent.learn(5_000, evaluate_at=[])

A look at a value (`item`, `float(t)`, `if t`), an answer whose size depends on values (`nonzero`, boolean
indices, `unique`, `bincount`) and a copy to the host all wait for what the GPU was asked before. On a CPU
they cost nothing, and nobody notices; here each raises `HostWaitError`. Where there is a GPU,
`torch.cuda.set_sync_debug_mode("error")` is on as well, which knows of waits inside operations too.

What a CPU cannot show is a copy between devices that waits: `fake_device` and the tests on a GPU do.

The fixture of the same name in `conftest.py` hands it to tests.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

WAITING = frozenset(
    {
        *("_local_scalar_dense", "item", "is_nonzero", "equal", "allclose", "_assert_scalar"),
        *(
            "nonzero",
            "masked_select",
            "bincount",
            "_coalesce",
            "_to_sparse",
            "_linalg_check_errors",
        ),
        *("_unique", "_unique2", "unique_dim", "unique_consecutive", "unique_dim_consecutive"),
    }
)
"""Operations of ATen that wait whatever they are given."""

COPIES = ("numpy", "tolist", "cpu", "__array__", "__dlpack__")
"""Methods of tensors that copy to the host, some of them unseen by a dispatch mode."""


class HostWaitError(AssertionError):
    """Something waited for the device."""


class _Watch(TorchDispatchMode):
    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        why = waits(func, args, kwargs or {})
        if why:
            raise HostWaitError(why)
        return func(*args, **(kwargs or {}))


def waits(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    """Why an operation of ATen waits for the device; "" if it does not."""
    name = func._schema.name.removeprefix("aten::")
    if name in WAITING:
        return f"aten.{name} waits for the device"
    if name == "index" and any(map(_is_mask, args[1])):
        return "a boolean index (aten.index) waits for the device"
    puts = name in ("index_put", "index_put_", "_index_put_impl_")
    # A single number goes where a mask says without a wait (masked_fill); rows of numbers do not.
    if puts and args[2].numel() != 1 and any(map(_is_mask, args[1])):
        return f"a boolean index (aten.{name}) waits for the device"
    if name == "repeat_interleave" and kwargs.get("output_size") is None:
        return "aten.repeat_interleave without output_size waits for the device"
    if name == "_to_copy" and args[0].device.type != "cpu":
        to = kwargs.get("device")
        if to is not None and torch.device(to).type == "cpu":
            return "a copy to the host (aten._to_copy) waits for the device"
    return ""


def _is_mask(index: Any) -> bool:
    return isinstance(index, torch.Tensor) and index.dtype in (torch.bool, torch.uint8)


def _refusing(name: str) -> Callable[..., Any]:
    def refused(self: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        raise HostWaitError(f"Tensor.{name} waits for the device")

    return refused


@contextmanager
def _replaced(name: str) -> Iterator[None]:
    own = torch.Tensor.__dict__.get(name)  # numpy, tolist and cpu are those of the base class
    setattr(torch.Tensor, name, _refusing(name))
    try:
        yield
    finally:
        if own is None:
            delattr(torch.Tensor, name)
        else:
            setattr(torch.Tensor, name, own)


@contextmanager
def checked_by_cuda() -> Iterator[None]:
    """On a GPU, what makes the host wait for it inside the block is an error of PyTorch's."""
    before = torch.cuda.get_sync_debug_mode()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that PyTorch does not know of all waits
        torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(before)


@contextmanager
def no_host_waits() -> Iterator[None]:
    """Raises `HostWaitError` at what would make the host wait for a GPU inside the block."""
    with ExitStack() as stack:
        for name in COPIES:
            stack.enter_context(_replaced(name))
        if torch.cuda.is_available():
            stack.enter_context(checked_by_cuda())
        stack.enter_context(_Watch())
        yield
