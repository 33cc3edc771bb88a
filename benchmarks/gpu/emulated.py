"""An accelerator that is not there: on any machine it finds what would break, or wait, on a GPU.

    with emulated() as device, counting() as counts:
        ...  # what asks for the GPU gets this one
    assert counts.copies == counts.waits == 0, counts

Its tensors say `emu:0`, compute on the CPU, to the CPU's bits, and refuse what CUDA refuses: tensors and generators of
the CPU beside its own, and in deterministic mode what CUDA has no deterministic form of. Autocast gives its operations
the types that it gives CUDA's. What it is sent is counted: kernels, copies, and what the host waits for. A kernel is
one of torch's operations here; a GPU may launch several for it.

What is refused while gradients are computed is raised by the next operation afterwards: until then an error in Python
would end the process, by the guard that torch has for such devices.

A module does not move while a graph of gradients holds its parameters, as it may to and from a GPU.

It tells nothing of time, memory, streams, captured graphs, several devices, TF32, or sums in another order.
"""

from __future__ import annotations

import sys
import weakref
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.utils import backend_registration
from torch.utils._python_dispatch import return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map

UNNAMED = "privateuseone"
NAME = UNNAMED if torch.cuda.is_available() else "emu"
"""What torch calls it. With a name it is torch's accelerator, and gradients no longer follow the streams of a GPU."""

KERNEL, UPLOAD, DOWNLOAD, WAIT = "kernel", "copy to the device", "copy to the host", "wait"

FILL = "fill of fresh memory"
"""The kernel that deterministic mode adds for every fresh tensor, unless `fill_uninitialized_memory` is off."""

WAITING = frozenset((
    "_linalg_check_errors", "_local_scalar_dense", "_unique2", "bincount", "equal", "is_nonzero", "masked_select",
    "nonzero", "repeat_interleave", "unique_consecutive", "unique_dim", "unique_dim_consecutive",
))  # fmt: skip
"""Operations of which the host must know a number before it goes on: the answer, or how large it is."""

INDEXING = frozenset(("index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index", "_unsafe_index_put"))

NONDETERMINISTIC = frozenset((
    "_adaptive_avg_pool2d_backward", "_adaptive_avg_pool3d_backward", "adaptive_max_pool2d_backward",
    "avg_pool3d_backward", "bincount", "cumsum", "fractional_max_pool2d_backward", "grid_sampler_2d_backward", "histc",
    "kthvalue", "max_pool3d_with_indices_backward", "max_unpool2d", "nll_loss2d_forward", "put_",
    "reflection_pad1d_backward", "reflection_pad2d_backward", "replication_pad1d_backward",
    "replication_pad2d_backward", "upsample_bicubic2d_backward", "upsample_bilinear2d_backward",
    "upsample_linear1d_backward",
))  # fmt: skip
"""What CUDA refuses in deterministic mode, by the documentation of `torch.use_deterministic_algorithms`; `bincount`
only with weights, `cumsum` only of floating-point numbers."""

IDLE = frozenset((
    "_local_scalar_dense", "empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided", "resize_",
))  # fmt: skip
"""What launches no kernel, besides views: numbers are read, memory is taken."""

FACTORIES = (
    "empty.memory_format", "empty_strided", "arange", "arange.start", "arange.start_step", "eye", "eye.m", "linspace",
    "randperm", "randperm.generator", "tril_indices", "triu_indices",
)  # fmt: skip
"""The first two make every other tensor; the rest would give an empty one its size afterwards."""

LOWER = (
    "addmm", "baddbmm", "bmm", "conv1d", "conv2d", "conv3d", "linear", "matmul", "mm", "mv", "prelu",
    "scaled_dot_product_attention",
)  # fmt: skip
"""What autocast computes in its own type: CUDA's list, as far as networks here can use it."""

FLOAT32 = (
    "binary_cross_entropy_with_logits", "cdist", "cosine_similarity", "cross_entropy_loss", "cumsum", "exp",
    "group_norm", "kl_div", "l1_loss", "layer_norm", "log", "log_softmax.int", "mse_loss", "nll_loss", "norm.Scalar",
    "pow.Tensor_Scalar", "prod", "reciprocal", "rsqrt", "smooth_l1_loss", "softmax.int", "softplus", "sum",
    "sum.dim_IntList",
)  # fmt: skip
"""What autocast computes in float32, likewise."""


@dataclass
class Counts:
    """What the device was sent.

    Attributes:
        events: how often, by kind (`KERNEL`, `UPLOAD`, `DOWNLOAD`, `WAIT`), operation, and the line that asked for it.
    """

    events: Counter[tuple[str, str, str]] = field(default_factory=Counter)

    def of(self, *kinds: str) -> int:
        """How often something of these kinds happened."""
        return sum(count for (kind, _, _), count in self.events.items() if kind in kinds)

    @property
    def kernels(self) -> int:
        """Operations that compute on the device."""
        return self.of(KERNEL)

    @property
    def uploads(self) -> int:
        """Copies from the host to the device."""
        return self.of(UPLOAD)

    @property
    def downloads(self) -> int:
        """Copies from the device to the host."""
        return self.of(DOWNLOAD)

    @property
    def copies(self) -> int:
        """Copies either way."""
        return self.uploads + self.downloads

    @property
    def waits(self) -> int:
        """How often the host waited: for a number, for a size, or for a copy that is not `non_blocking`."""
        return self.of(WAIT)

    def __str__(self) -> str:
        told = [f"{n} x {kind} ({name}) at {line}" for (kind, name, line), n in self.events.items() if kind != KERNEL]
        return "\n".join([f"{self.kernels} kernels", *told])


_COUNTING: list[Counts] = []


@contextmanager
def counting() -> Iterator[Counts]:
    """Counts what the device is sent inside, by whatever thread."""
    counts = Counts()
    _COUNTING.append(counts)
    try:
        yield counts
    finally:
        _COUNTING[:] = [one for one in _COUNTING if one is not counts]


def _note(kind: str, name: str, count: int = 1) -> None:
    if _COUNTING:
        line = "" if kind == KERNEL else _line()
        for counts in _COUNTING:
            counts.events[kind, name, line] += count


def _line() -> str:
    """Where it was asked for: the innermost line that is neither torch's nor of this file."""
    frame, torch_itself = sys._getframe().f_back, str(Path(torch.__file__).parent)
    while frame is not None:
        path = frame.f_code.co_filename
        if path != __file__ and not path.startswith((torch_itself, "<")):
            return f"{Path(path).parent.name}/{Path(path).name}:{frame.f_lineno}"
        frame = frame.f_back
    return "gradients"  # torch computes them in a thread of its own


class EmulatedTensor(Tensor):
    """A tensor on the device.

    Attributes:
        raw: what it is computed with: a tensor of the CPU, which nobody else holds.
    """

    raw: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @staticmethod
    def __new__(cls: type[EmulatedTensor], raw: Tensor) -> EmulatedTensor:
        """Puts a tensor on the device."""
        made: EmulatedTensor = torch.Tensor._make_wrapper_subclass(
            cls,
            raw.size(),
            strides=raw.stride(),
            storage_offset=raw.storage_offset(),
            dtype=raw.dtype,
            device=torch.device(NAME, 0),
        )
        made.raw = raw
        return made

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Every operation that meets such a tensor comes here, below autograd and autocast."""
        return _run(func, args, kwargs or {})

    def __repr__(self) -> str:  # type: ignore[override]
        return f"EmulatedTensor({self.raw})"

    def tolist(self) -> Any:
        """As numbers, for which the host waits."""
        return self.cpu().tolist()

    def untyped_storage(self) -> torch.UntypedStorage:
        """Where `raw` lies: two tensors lie in the same place where they would on a GPU."""
        return self.raw.untyped_storage()

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Saved as a tensor, or parameter, of the CPU."""
        saved = self.detach().cpu()
        if isinstance(self, torch.nn.Parameter):
            saved = torch.nn.Parameter(saved, self.requires_grad)
        return saved.__reduce_ex__(protocol)


class EmulatedGenerator(torch.Generator):
    """A generator on the device; it draws what one of the CPU does."""

    def __new__(cls) -> EmulatedGenerator:
        """Made as one of the CPU: torch can be told of no other."""
        made = super().__new__(cls)
        _GENERATORS.add(made)
        return made

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        """Where what it draws lies."""
        return torch.device(NAME, 0)


_GENERATORS: weakref.WeakSet[EmulatedGenerator] = weakref.WeakSet()


def _generator(device: torch.device | str = "cpu") -> torch.Generator:
    """`torch.Generator`, which also makes one on the device."""
    return EmulatedGenerator() if torch.device(device).type == NAME else torch.Generator(device)


def _run(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Refuses, counts and computes one operation."""
    name = func._schema.name.removeprefix("aten::")
    copies = name in ("_to_copy", "copy_")
    tensors = [one for one in tree_leaves((args, kwargs)) if isinstance(one, Tensor)]
    try:
        if not copies:
            _refuse_strangers(func, name, args, tensors)
            _refuse_generators(name, (*args, *kwargs.values()))
            _refuse_nondeterminism(name, tensors)
    except RuntimeError as refusal:
        _LATER.append(refusal)
    if _LATER and torch._C._current_graph_task_id() == -1:  # no gradients are computed
        raise _LATER.pop(0)
    if copies:
        return _copied(func, name, args, kwargs)
    _tell(func, name, args, kwargs)
    stays = (kwargs.get("device") or torch.device(NAME)).type == NAME
    raw = _computed(func, args, kwargs)
    made = tree_map(lambda one: EmulatedTensor(one) if isinstance(one, Tensor) else one, raw) if stays else raw
    resized = any(isinstance(one, EmulatedTensor) and one.raw.shape != one.shape for one in tensors)
    if resized and torch.Tag.inplace_view not in func.tags:
        raise NotImplementedError(f"{name}: a tensor of the emulated device does not change its size")
    if any(returned.alias_info for returned in func._schema.returns):
        return return_and_correct_aliasing(func, args, kwargs, made)
    settings: Any = torch.utils.deterministic  # a module with a property, which its types do not tell
    if torch.are_deterministic_algorithms_enabled() and settings.fill_uninitialized_memory:
        _note(KERNEL, FILL, sum(isinstance(one, EmulatedTensor) for one in tree_leaves(made)))
    return made


_LATER: list[RuntimeError] = []


def _computed(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The operation on the CPU."""
    args, kwargs = tree_map(lambda one: one.raw if isinstance(one, EmulatedTensor) else one, (args, kwargs))
    if "device" in kwargs:
        kwargs |= {"device": torch.device("cpu")}
    return func(*args, **kwargs)


def _copied(func: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """A copy on the device is a kernel; one to or from it waits, unless it need not."""
    source, target = (args[0], kwargs.get("device")) if name == "_to_copy" else (args[1], args[0].device)
    arrives = target is None or torch.device(target).type == NAME
    leaves = isinstance(source, EmulatedTensor)
    _note(KERNEL if leaves and arrives else UPLOAD if arrives else DOWNLOAD, name)
    if leaves != arrives and not (kwargs.get("non_blocking") or any(args[2:])):
        _note(WAIT, name)
    made = _computed(func, args, kwargs)
    return args[0] if name == "copy_" else EmulatedTensor(made) if arrives else made


def _refuse_strangers(func: Any, name: str, args: tuple[Any, ...], tensors: Sequence[Tensor]) -> None:
    """Tensors of the CPU beside those of the device. A single number may come along where it goes point by point, or
    is filled in; so may an index, which is copied.
    """
    tolerant = torch.Tag.pointwise in func.tags or name == "fill_"
    if name in INDEXING:  # arguments: a tensor, its indices, and what is put there
        tensors, tolerant = [args[0], *args[2:3]], True
    strangers = [tuple(one.shape) for one in tensors if not isinstance(one, EmulatedTensor)]
    if (name in INDEXING and not isinstance(args[0], EmulatedTensor)) or (
        strangers if not tolerant else any(strangers)
    ):
        raise RuntimeError(
            f"{name}: expected all tensors on the same device, found {NAME}:0 and cpu, of shapes {strangers}"
        )


def _refuse_generators(name: str, given: Sequence[Any]) -> None:
    """Generators of the CPU. Torch hands on what it wraps anew, so that one is known by its state."""
    for one in given:
        if isinstance(one, torch.Generator):
            state = one.get_state()
            if not any(torch.equal(state, ours.get_state()) for ours in _GENERATORS):
                raise RuntimeError(f"{name}: expected a generator on {NAME}:0, found one on cpu")


def _refuse_nondeterminism(name: str, tensors: Sequence[Tensor]) -> None:
    """What has no deterministic form."""
    if name in NONDETERMINISTIC and torch.are_deterministic_algorithms_enabled():
        exempt = {"bincount": len(tensors) == 1, "cumsum": not tensors[0].is_floating_point()}
        if not exempt.get(name, False):
            raise RuntimeError(f"{name} has no deterministic form on CUDA")


def _tell(func: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Counts what an operation that is no copy comes to."""
    if name in WAITING and kwargs.get("output_size") is None:
        _note(WAIT, name)
    if name in INDEXING:
        indices = [one for one in args[1] if one is not None]
        masks = any(one.dtype in (torch.bool, torch.uint8) for one in indices)
        one_value = "put" in name and len(indices) == 1 and args[2].numel() == 1 and not any(args[3:4])
        if masks and not one_value:  # where to write one value need not be known on the host
            _note(WAIT, f"{name} by a mask")
        if strangers := sum(not isinstance(one, EmulatedTensor) for one in indices):
            _note(UPLOAD, f"{name} by an index of the CPU", strangers)
            _note(WAIT, f"{name} by an index of the CPU", strangers)
    if not (func.is_view or name in IDLE or torch.Tag.inplace_view in func.tags):
        _note(KERNEL, name)


class _Module(backend_registration._DummyBackendModule):
    """What torch asks about the device: `torch.emu`."""

    def is_available(self) -> bool:
        """Inside `emulated` alone: nobody else is to come across it."""
        return bool(_INSIDE)

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        """Types that autocast can lower to."""
        return [torch.bfloat16, torch.float16]

    def synchronize(self, device: torch.device | None = None) -> None:
        """Waits for the device, which has always done what it was given."""


_INSIDE: list[torch.device] = []


@cache
def registered() -> tuple[torch.library.Library, ...]:
    """Tells torch of the device, once in a process: it cannot be made to forget. Nothing of the CPU's, or of a GPU's,
    changes by it.

    To be called before the first gradients: for them torch starts a thread for each device that there is.
    """
    if NAME != UNNAMED:
        backend_registration.rename_privateuse1_backend(NAME)
    module: Any = _Module()
    torch._register_device_module(NAME, module)
    torch._C._acc.register_python_privateuseone_hook(backend_registration._DummyPrivateUse1Hook())
    torch._C._acc.register_python_privateuseone_device_guard(backend_registration._DummyDeviceGuard())
    kernels, others = torch.library.Library("aten", "IMPL"), torch.library.Library("_", "IMPL")
    for name in FACTORIES:
        kernels.impl(name, _factory(_operation(name)), "PrivateUse1")
    kernels.impl("_copy_from", _copy_from, "PrivateUse1")
    others.fallback(torch.library.fallthrough_kernel, "AutocastPrivateUse1")
    for name in LOWER:
        kernels.impl(name, _autocast(_operation(name), None), "AutocastPrivateUse1")
    for name in FLOAT32:
        kernels.impl(name, _autocast(_operation(name), torch.float32), "AutocastPrivateUse1")
    return kernels, others


@cache
def _computes_gradients() -> None:
    """Raises where `registered` was called too late."""
    try:
        torch.ones(1, device=NAME, requires_grad=True).sum().backward()
    except RuntimeError as error:
        raise RuntimeError("register the emulated device before the first gradients of a process") from error


def _operation(name: str) -> Any:
    packet, _, overload = name.partition(".")
    return getattr(getattr(torch.ops.aten, packet), overload or "default")


def _factory(func: Any) -> Callable[..., Any]:
    def made(*args: Any, **kwargs: Any) -> Any:
        return _run(func, args, kwargs | {"device": torch.device(NAME), "pin_memory": None})

    return made


def _copy_from(source: Tensor, target: Tensor, non_blocking: bool = False) -> Any:
    """How `torch.tensor` brings numbers to a device."""
    return _run(torch.ops.aten.copy_.default, (target, source, non_blocking), {})


def _autocast(func: Any, dtype: torch.dtype | None) -> Callable[..., Any]:
    """An operation under autocast: its floating-point arguments in this type, or in autocast's own."""
    keys: Any = torch._C.DispatchKey
    itself = torch._C.DispatchKeySet(keys.AutocastPrivateUse1)

    def cast(value: Any) -> Any:
        if isinstance(value, Tensor) and value.dtype in (torch.float32, torch.bfloat16, torch.float16):
            return value.to(dtype or torch.get_autocast_dtype(NAME))
        return value

    def carried_out(*args: Any, **kwargs: Any) -> Any:
        with torch._C._ExcludeDispatchKeyGuard(itself):
            return func(*tree_map(cast, args), **tree_map(cast, kwargs))

    return carried_out


@contextmanager
def emulated() -> Iterator[torch.device]:
    """Inside, the library and Lightning take the emulated device for the GPU of this process; then all is as it was.

    `trainer.accelerator=auto`, `gpu` and `cuda` are this device; `cpu` is the CPU. There is one such device, on which
    several processes cannot train.

    Raises:
        RuntimeError: gradients were computed before `registered` was called.
    """
    from lightning.fabric.accelerators import cuda as of_fabric
    from lightning.pytorch.accelerators import CUDAAccelerator
    from lightning.pytorch.plugins.precision import MixedPrecision

    import ipr.machine.device
    import ipr.randomness

    registered()
    _computes_gradients()
    device, precision = torch.device(NAME, 0), MixedPrecision.__init__
    there: dict[str, Any] = {"is_available": staticmethod(lambda: True), "auto_device_count": staticmethod(lambda: 1)}
    taken: dict[str, Any] = there | {
        "parse_devices": staticmethod(lambda devices: [device] * int(devices)),
        "get_parallel_devices": staticmethod(list),
        "setup_device": lambda self, device: None,
        "setup": lambda self, trainer: None,
        "teardown": lambda self: None,
    }

    def autocast_here(self: MixedPrecision, kind: Any, _: str, scaler: Any = None) -> None:
        precision(self, kind, NAME, scaler)

    with ExitStack() as undo:
        for patch in (
            mock.patch.object(ipr.machine.device, "gpu", mock.Mock(return_value=device)),
            mock.patch.object(ipr.randomness, "Generator", _generator),
            mock.patch.multiple(of_fabric.CUDAAccelerator, **there),
            mock.patch.multiple(CUDAAccelerator, **taken),
            mock.patch.object(MixedPrecision, "__init__", autocast_here),
        ):
            undo.enter_context(patch)
        # a parameter that moves stays the same object, as on CUDA: torch then swaps what is in it
        future: Any = torch.__future__
        undo.callback(future.set_swap_module_params_on_conversion, future.get_swap_module_params_on_conversion())
        future.set_swap_module_params_on_conversion(True)
        _INSIDE.append(device)
        undo.callback(_INSIDE.pop)
        undo.callback(_LATER.clear)
        yield device
        if _LATER:
            raise _LATER[0]
