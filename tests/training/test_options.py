"""Precision, memory format and compilation change speed, and what is learned by rounding alone; no step waits."""

import sys
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from torch.utils._python_dispatch import TorchDispatchMode

from ipr.data.opening import open_images
from ipr.errors import InputError
from ipr.models import build_model
from ipr.schemes.base import Scheme
from ipr.training.numerics import computing, layout
from ipr.workflows.request import check, key_of
from ipr.workflows.train import train

SCHEMES = ["baseline", "passport_v1", "passport_v2", "passport_v3"]


@pytest.mark.parametrize("scheme", ["passport_v1", "passport_v2"])
@pytest.mark.sampled(2)
def test_another_memory_format_learns_the_same_but_for_rounding(request_for, scheme):
    runs = [
        train(request_for(f"scheme={scheme}", "trainer.precision=64-true", f"trainer.memory_format={kind}"))
        for kind in ("channels_last", "contiguous")
    ]
    assert runs[0].folder.key != runs[1].folder.key
    one, two = (load_file(run.folder.weights) for run in runs)
    for name in one:
        torch.testing.assert_close(one[name], two[name], rtol=0, atol=1e-9)


ALSO = [pytest.param(scheme, marks=pytest.mark.slow) for scheme in ("passport_v1", "trigger_set", "seal")]


@pytest.mark.parametrize("scheme", ["passport_v2", *ALSO])
@pytest.mark.slow
def test_a_compiled_network_learns_the_same_but_for_rounding(request_for, scheme, monkeypatch):
    """Compiled as far as the graphs of forward and backward; the C++ behind them is torch's own."""
    import torch._dynamo

    torch._dynamo.reset()
    compiled = []
    plain_compile = torch.nn.Module.compile

    def record(module, *args, **kwargs):
        compiled.append(module)
        plain_compile(module, *args, backend="aot_eager", **kwargs)

    monkeypatch.setattr(torch.nn.Module, "compile", record)
    runs = [
        train(request_for(f"scheme={scheme}", "trainer.precision=64-true", f"trainer.compile={wanted}"))
        for wanted in ("false", "true")
    ]
    assert compiled
    one, two = (load_file(run.folder.weights) for run in runs)
    assert one.keys() == two.keys()  # no name tells that it was compiled
    for name in one:
        torch.testing.assert_close(one[name], two[name], rtol=0, atol=1e-9)


def test_half_precision_leaves_weights_and_passport_in_full(request_for):
    run = train(request_for("scheme=passport_v2", "trainer.precision=bf16-mixed"))
    assert all(
        tensor.dtype == torch.float32 for tensor in load_file(run.folder.weights).values() if tensor.is_floating_point()
    )
    assert run.record.precision == "bf16-mixed"


@pytest.mark.slow
def test_every_option_that_changes_rounding_names_another_run(request_for):
    asked = [
        request_for(*option)
        for option in (
            [],
            ["trainer.memory_format=contiguous"],
            ["trainer.compile=true"],
            ["trainer.precision=64-true"],
            ["trainer.deterministic=false"],
            ["trainer.deterministic=false", "trainer.autotune=true"],
            ["trainer.tf32=true"],
            ["trainer.tf32=false"],
            ["trainer=fast"],
        )
    ]
    data = open_images(asked[0].dataset, asked[0].paths)
    assert len({key_of(config, data) for config in asked}) == 9


def test_what_changes_no_number_names_no_other_run(request_for):
    data = open_images(request_for().dataset, request_for().paths)
    same = [[], ["trainer.capture=true"], ["trainer.memory_format=auto"], ["trainer.memory_format=channels_last"]]
    assert len({key_of(request_for(*words), data) for words in same}) == 1


@pytest.mark.parametrize(
    ("norm", "device", "expected"),
    [("gn", "cuda", "contiguous"), ("bn", "cuda", "channels_last"), ("gn", "cpu", "channels_last")],
)
def test_the_layout_is_chosen_by_norm_and_device(norm, device, expected):
    network = build_model("alexnet", norm=norm, width=0.25, channels_in=1, image_size=16, num_classes=10)
    assert layout("auto", network, torch.device(device)) == expected
    assert layout("contiguous", network, torch.device(device)) == "contiguous"
    mixed = torch.nn.Sequential(torch.nn.GroupNorm(1, 4), torch.nn.BatchNorm2d(4))
    assert layout("auto", mixed, torch.device(device)) == "channels_last"


def test_rounding_is_as_asked_inside_and_as_before_afterwards(request_for):
    def state():
        return torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32

    before = state()
    for tf32, expected in ((None, before), (True, ("high", True)), (False, ("highest", False))):
        with computing(replace(request_for().trainer, tf32=tf32)):
            assert state() == expected
            assert not torch.utils.deterministic.fill_uninitialized_memory
        assert state() == before


def test_the_fast_preset_trains_and_is_recorded(request_for):
    run = train(request_for("scheme=passport_v2", "trainer=fast"))
    told = run.record
    assert (told.precision, told.deterministic, told.tf32, told.autotune, told.capture) == (
        "bf16-mixed", False, True, True, True,
    )  # fmt: skip
    assert told.memory_format == "channels_last"
    assert train(request_for("scheme=passport_v2", "trainer=fast")).found


def test_what_is_chosen_by_time_is_refused_where_runs_repeat(request_for):
    with pytest.raises(InputError, match=r"^trainer\.autotune=True: .* choose trainer\.deterministic=false"):
        check(request_for("trainer.autotune=true"))


def test_an_unknown_memory_format_is_refused(request_for):
    with pytest.raises(InputError, match=r"memory_format=nhwc: is unknown; choose among: auto, channels_l"):
        check(request_for("trainer.memory_format=nhwc"))


@pytest.mark.slow
def test_compilation_for_a_gpu_needs_a_c_compiler(request_for, monkeypatch, tmp_path):
    """Triton's, whatever there is for C++; none is needed where nothing is compiled."""
    monkeypatch.setattr("ipr.machine.device.gpu", lambda: torch.device("cuda"))
    asked = ("trainer.accelerator=auto", "trainer.compile=true")
    monkeypatch.setenv("CXX", sys.executable)
    monkeypatch.setenv("CC", "no-such-compiler")
    with pytest.raises(InputError, match=r"trainer.compile=True: needs a C compiler, and there is no no-such-compiler"):
        check(request_for(*asked))
    check(request_for("trainer.accelerator=cpu", "trainer.compile=true"))  # on the CPU it is C++ here, too
    check(request_for("trainer.accelerator=auto"))
    monkeypatch.delenv("CC")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="needs a C compiler, and there is no gcc or clang"):
        check(request_for(*asked))
    (tmp_path / "clang").symlink_to(sys.executable)
    check(request_for(*asked))


def test_compilation_without_a_compiler_is_refused(request_for, monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(InputError, match=r"trainer.compile=True: needs a C\+\+ compiler, and there is no no-such-comp"):
        check(request_for("trainer.compile=true"))


WAITS = ("_local_scalar_dense", "nonzero", "_unique2", "masked_select", "equal", "is_nonzero")


class Waits(TorchDispatchMode):
    """Counts the operations that make the host wait for the device."""

    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += func.overloadpacket.__name__ in WAITS
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    "scheme",
    [
        pytest.param(scheme, marks=() if scheme in ("passport_v2", "uchida") else pytest.mark.slow)
        for scheme in (*SCHEMES, "uchida", "deepsigns", "trigger_set")
    ],
)
def test_no_step_waits_for_the_device(request_for, scheme, monkeypatch):
    """Twice the steps wait no more often: what waits is done once an epoch."""
    import ipr.workflows.train as module

    counts, plain_fit = {}, module.fit
    for images in (64, 128):
        waits = Waits()

        def counted(*args, waits=waits, **kwargs):
            with waits:
                plain_fit(*args, **kwargs)

        monkeypatch.setattr(module, "fit", counted)
        small = ["scheme.classes=2", "scheme.bits=4", "scheme.images=2"] if scheme == "deepsigns" else []
        train(request_for(f"scheme={scheme}", f"dataset.limit_train={images}", "dataset.image_size=16", *small))
        counts[images] = waits.count
    assert counts[64] == counts[128]
    with waits:
        torch.ones(2).sum().item()
    assert waits.count == counts[128] + 1


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.sampled(2)
def test_a_fused_optimiser_is_clipped_in_every_precision(precision, request_for, tmp_path, monkeypatch):
    """As on a GPU: Lightning's own clipping refuses it under autocast, though nothing is scaled there."""
    words = ["scheme=passport_v2", f"trainer.precision={precision}", "optimizer.clip_norm=0.01"]
    loop = train(request_for(*words, f"paths.runs={tmp_path / 'loop'}"))
    monkeypatch.setattr(Scheme, "fused", True)
    fused = train(request_for(*words, f"paths.runs={tmp_path / 'fused'}"))
    one, two = (load_file(run.folder.weights) for run in (loop, fused))
    for name in one:
        torch.testing.assert_close(one[name], two[name], rtol=1e-3, atol=1e-4)
