"""The emulated device: what it computes, what it refuses, what it counts, and that it is gone afterwards."""

import copy
import io
import pickle
import threading

import lightning as L
import pytest
import torch
from torch import nn
from torch.nn import functional

from gpu.emulated import DOWNLOAD, FILL, KERNEL, UPLOAD, WAIT, counting, emulated
from ipr.machine import device as devices
from ipr.randomness import generator


@pytest.fixture
def emu():
    with emulated() as device:
        yield device


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 8, 3, bias=False),
        nn.GroupNorm(2, 8), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5),
    ).to(memory_format=torch.channels_last)  # fmt: skip


def steps(model, device, count=3):
    """What some steps make of a model: answers, gradients, weights, statistics."""
    model.to(device)
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9, weight_decay=1e-3)
    source = torch.Generator().manual_seed(1)
    for _ in range(count):
        x = torch.randn(6, 3, 8, 8, generator=source).to(device, memory_format=torch.channels_last)
        optimizer.zero_grad()
        answers = model(x)
        functional.cross_entropy(answers, torch.arange(6, device=device) % 5).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        optimizer.step()
    found = [answers, *(p.grad for p in model.parameters()), *model.state_dict().values()]
    return [one.detach().cpu() for one in found]


def test_values_and_gradients_are_the_bits_of_the_cpu(emu):
    one, two = steps(network(), torch.device("cpu")), steps(network(), emu)
    assert len(one) == len(two)
    for here, there in zip(one, two, strict=True):
        assert type(there) is torch.Tensor
        assert torch.equal(here, there)
        assert here.stride() == there.stride()


def test_parameters_stay_the_same_objects_where_a_module_moves(emu):
    model = network()
    before, bias = dict(model.named_parameters()), model[0].bias
    optimizer = torch.optim.SGD(model.parameters(), 1.0)
    model.to(emu)
    assert all(p is before[name] and p.device == emu and p.is_leaf for name, p in model.named_parameters())
    bias.grad = torch.ones(8, device=emu)
    optimizer.step()
    assert model[0].bias.cpu().tolist() == (network()[0].bias - 1).tolist()
    model.to("cpu")
    assert all(p is before[name] and p.device.type == "cpu" for name, p in model.named_parameters())


def test_copies_files_and_numbers_come_from_it_as_from_a_gpu(emu):
    model = network().to(emu)
    twin = copy.deepcopy(model)
    assert all(isinstance(p, nn.Parameter) and p.device == emu for p in twin.parameters())
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    loaded = torch.load(file, weights_only=True)
    assert all(type(one) is torch.Tensor and one.device.type == "cpu" for one in loaded.values())
    twin.load_state_dict(loaded)
    again = pickle.loads(pickle.dumps(model))
    assert all(isinstance(p, nn.Parameter) and p.device.type == "cpu" for p in again.parameters())
    t = torch.tensor([[1.0, -2.0], [3.0, 4.0]], device=emu)
    assert t.tolist() == [[1.0, -2.0], [3.0, 4.0]]
    assert (t[0, 1].item(), bool(t[0, 0] > 0), int(t[1, 1])) == (-2.0, True, 4)
    t[0] = 7.0  # through a view
    t.view(-1)[3:] += 1
    t.t()[0].mul_(2)
    assert t.tolist() == [[14.0, 7.0], [6.0, 5.0]]
    with pytest.raises((TypeError, RuntimeError)):
        t.numpy()
    assert torch.zeros_like(t, device="cpu").device.type == "cpu"
    assert torch.zeros_like(torch.zeros(2), device=emu).device == emu


MIXED = {
    "addition": lambda t, c, i: t + c,
    "in place": lambda t, c, i: c.add_(t),
    "cat": lambda t, c, i: torch.cat([t, c]),
    "stack of numbers": lambda t, c, i: torch.stack([t.sum(), c.sum()]),
    "convolution": lambda t, c, i: functional.conv1d(t[None], c[:, :2, None]),
    "matrix product": lambda t, c, i: c @ t,
    "of the cpu by an index of the device": lambda t, c, i: c[i],
    "values": lambda t, c, i: t.index_put_((i,), c),
    "gather": lambda t, c, i: torch.gather(t, 0, torch.zeros(2, 2, dtype=torch.int64)),
    "output": lambda t, c, i: torch.add(t, t, out=c),
    "loss": lambda t, c, i: functional.cross_entropy(t, torch.tensor([0, 1])),
    "a generator": lambda t, c, i: torch.rand(2, device=t.device, generator=torch.Generator()),
    "a generator, in place": lambda t, c, i: t.normal_(generator=generator(0, "of the cpu")),
}


@pytest.mark.parametrize("what", MIXED)
def test_what_is_on_the_cpu_is_refused(emu, what):
    c = torch.ones(2, 2)
    t, i = c.to(emu), torch.tensor([0, 1], device=emu)
    with pytest.raises(RuntimeError, match=r"expected (all tensors on the same device|a generator on emu:0)"):
        MIXED[what](t, c, i)


def test_what_cuda_takes_of_the_cpu_is_taken(emu):
    t, c = torch.arange(4.0, device=emu), torch.arange(4.0)
    assert (t * torch.tensor(2.0)).tolist() == (c * 2).tolist()
    assert torch.where(t > 1, t, torch.tensor(0.0)).tolist() == [0, 0, 2, 3]
    with counting() as counts:
        chosen = t[torch.tensor([2, 0])]
    assert (counts.uploads, counts.waits) == (1, 1)
    assert chosen.tolist() == [2, 0]
    ours = generator(0, "test", device=emu)
    assert ours.device == emu
    drawn = torch.rand(3, device=emu, generator=ours), torch.randperm(5, device=emu, generator=ours)
    source = generator(0, "test")
    assert [one.tolist() for one in drawn] == [
        torch.rand(3, generator=source).tolist(),
        torch.randperm(5, generator=source).tolist(),
    ]


def test_deterministic_mode_refuses_what_has_no_such_form_on_cuda(emu):
    x = torch.randn(1, 2, 8, 8).to(emu).requires_grad_()
    for ask in (
        lambda: functional.pad(x, (1, 1, 1, 1), mode="reflect").sum().backward(),
        lambda: functional.adaptive_avg_pool2d(x, 3).sum().backward(),
        lambda: torch.ones(3, device=emu).cumsum(0),
        lambda: torch.bincount(torch.ones(3, dtype=torch.int64, device=emu), torch.ones(3, device=emu)),
    ):
        torch.use_deterministic_algorithms(True)
        with pytest.raises(RuntimeError, match="has no deterministic form on CUDA"):
            _ = (ask(), torch.ones(1, device=emu))  # what computing gradients met comes with the next operation
        torch.use_deterministic_algorithms(False)
        ask()
    torch.use_deterministic_algorithms(True)
    functional.adaptive_avg_pool2d(x, 1).sum().backward()
    assert torch.ones(3, dtype=torch.int64, device=emu).cumsum(0).tolist() == [1, 2, 3]


WAITS = {
    "item": lambda t, m: t[0].item(),
    "float": lambda t, m: float(t[0]),
    "if": lambda t, m: bool(m[0]),
    "nonzero": lambda t, m: m.nonzero(),
    "by a mask": lambda t, m: t[m],
    "values by a mask": lambda t, m: t.index_put_((m,), torch.zeros(2, device=t.device)),
    "masked_select": lambda t, m: t.masked_select(m),
    "unique": lambda t, m: t.unique(),
    "equal": lambda t, m: torch.equal(t, t),
    "bincount": lambda t, m: t.long().bincount(),
    "repeat_interleave": lambda t, m: t.repeat_interleave(torch.ones_like(t).long()),
    "inverse": lambda t, m: torch.linalg.inv(t.diag() + 1),
}


@pytest.mark.parametrize("what", WAITS)
def test_what_the_host_waits_for_is_counted(emu, what):
    t = torch.tensor([2.0, 1.0, 3.0], device=emu)
    with counting() as counts:
        WAITS[what](t, t > 1)
    assert counts.waits == 1, counts
    assert counts.copies == 0
    assert f"tests/test_emulated.py:{WAITS[what].__code__.co_firstlineno}" in str(counts)


def test_what_nobody_waits_for_is_not(emu):
    t = torch.tensor([2.0, 1.0, 3.0], device=emu)
    with counting() as counts:
        t[t > 1] = 0.0
        t[0] = 5
        torch.where(t > 1, t, 0)
        t.masked_fill(t > 1, 1.0).clamp(0, 1).sum()
        t.repeat_interleave(torch.ones_like(t).long(), output_size=3)
        torch.arange(3, device=emu)
        torch.rand(3, device=emu)
    assert counts.waits == counts.copies == 0, counts
    assert counts.kernels > 10


def test_copies_are_counted_with_what_they_wait_for(emu):
    with counting() as counts:
        t = torch.tensor([1, 2], device=emu)
        u = torch.ones(2).to(emu)
        v = torch.ones(2).to(emu, non_blocking=True)
        u.copy_(v)
        u.copy_(torch.zeros(2))
        t.cpu()
        t.tolist()
        torch.zeros(2).copy_(u)
    assert (counts.uploads, counts.downloads, counts.copies, counts.waits) == (4, 3, 7, 6)
    assert counts.kernels == 1
    with counting() as none:
        torch.ones(3).sum().item()
        u.to(emu)
        u.view(2, 1).detach().expand(2, 5).t()
    assert not none.events


def test_counts_are_of_what_happens_inside(emu):
    with counting() as outer:
        torch.ones(1, device=emu)
        with counting() as inner:
            torch.ones(1, device=emu).item()
        torch.ones(1, device=emu)
    torch.ones(1, device=emu)
    assert (inner.of(KERNEL), inner.of(WAIT), inner.of(UPLOAD, DOWNLOAD)) == (1, 1, 0)
    assert (outer.kernels, outer.waits) == (3, 1)


def test_another_thread_is_counted_too(emu):
    t = torch.ones(2, device=emu)
    with counting() as counts:
        thread = threading.Thread(target=lambda: torch.zeros(2, device=emu).add_(t).sum().item())
        thread.start()
        thread.join()
    assert (counts.kernels, counts.waits) == (3, 1)


def test_fills_of_fresh_memory_are_counted_unless_they_are_off(emu, monkeypatch):
    t = torch.ones(2, device=emu)
    torch.use_deterministic_algorithms(True)
    with counting() as counts:
        (t + 1).view(1, 2).mul_(2)
    assert counts.events[KERNEL, FILL, ""] == 1
    monkeypatch.setattr(torch.utils.deterministic, "fill_uninitialized_memory", False)
    with counting() as counts:
        (t + 1).view(1, 2).mul_(2)
    assert counts.kernels == 2


def test_autocast_gives_the_types_that_it_gives_cudas(emu):
    model, x = network().to(emu), torch.ones(2, 3, 8, 8, device=emu)
    with torch.autocast(emu.type, torch.bfloat16):
        lowered = model[0](x)
        assert lowered.dtype == model[:4](x).dtype == (lowered[:, 0, 0] @ lowered[:, 0, 0].mT).dtype == torch.bfloat16
        assert model[:6](x).dtype == torch.float32  # group norm is on CUDA's list of float32
        assert functional.cross_entropy(model(x), torch.tensor([0, 1], device=emu)).dtype == torch.float32
        assert lowered.sum().dtype == lowered.exp().dtype == lowered.softmax(1).dtype == torch.float32
        with torch.autocast(emu.type, enabled=False):
            assert model[0](x).dtype == torch.float32
        (model(x).square().mean()).backward()
    assert all(p.grad.dtype == torch.float32 for p in model.parameters())
    assert model[0](x).dtype == torch.float32


def test_only_inside_is_it_the_gpu_of_this_process(monkeypatch):
    """Also where it ends with an error; then generators, Lightning and the library are as they were."""
    found = devices.gpu()

    def trainer(**more):
        return L.Trainer(accelerator="auto", logger=False, enable_checkpointing=False, **more)

    with emulated() as device:
        assert devices.device_for("auto") == devices.device_for("gpu") == device
        assert devices.device_for("cpu").type == "cpu"
        assert torch.accelerator.is_available()
        made = trainer(precision="bf16-mixed")
        assert (made.strategy.root_device, made.precision_plugin.device) == (device, "emu")
    with pytest.raises(KeyError, match="on purpose"), emulated():
        raise KeyError("on purpose")
    assert devices.gpu() == found
    assert torch.accelerator.is_available() == torch.cuda.is_available()
    if found is None:
        assert (
            L.Trainer(accelerator="auto", logger=False, enable_checkpointing=False).strategy.root_device.type == "cpu"
        )
    with pytest.raises((NotImplementedError, RuntimeError)):
        generator(0, "nobody's", device="emu")
    module, before = nn.Linear(1, 1), torch.__future__.get_swap_module_params_on_conversion()
    assert not before
    assert module.double().weight.dtype == torch.float64
