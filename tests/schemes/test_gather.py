"""Batch norm over two real processes, against that of the joined batch."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch
from timm.layers import BatchNormAct2d
from torch import distributed
from torch.nn import functional

from ipr.passport.layer import PassportBatchNorm2d
from ipr.schemes.gather import joint_statistics


def _part(rank, port):
    """What each process does, and what it finds."""
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    store = distributed.TCPStore("127.0.0.1", port, is_master=False)
    distributed.init_process_group("gloo", store=store, rank=rank, world_size=2)
    found = []
    for layer, x, weight, bias, slope in _layers():
        x, slope = (rows.chunk(2)[rank].clone() for rows in (x, slope))
        x.requires_grad_()
        with joint_statistics(layer):
            y = layer.normalise(x, weight, bias) if hasattr(layer, "normalise") else layer(x)
            (y * slope).sum().backward()
            assert not torch.equal(layer.running_mean, torch.zeros_like(layer.running_mean))
            layer.eval()
            rest = layer.normalise(x, weight, bias) if hasattr(layer, "normalise") else layer(x)
        found.append([y.detach(), x.grad, weight.grad, bias.grad, layer.running_mean, layer.running_var, rest.detach()])
        assert "forward" not in vars(layer)
        assert "normalise" not in vars(layer)
    distributed.destroy_process_group()
    return found


def _layers():
    source = torch.Generator().manual_seed(5)
    for kind in (torch.nn.BatchNorm2d, PassportBatchNorm2d, BatchNormAct2d):
        layer = kind(3).double()
        x = torch.randn(8, 3, 4, 5, generator=source, dtype=torch.float64) * 3 + 7
        x[4:] += 2  # the halves differ in their means
        weight, bias = (torch.randn(3, generator=source, dtype=torch.float64) for _ in range(2))
        if kind is PassportBatchNorm2d:
            weight.requires_grad_()
            bias.requires_grad_()
        else:
            layer.load_state_dict({"weight": weight, "bias": bias}, strict=False)
            weight, bias = layer.weight, layer.bias
        yield layer, x, weight, bias, torch.randn(x.shape, generator=source, dtype=torch.float64)


@pytest.mark.system
def test_batch_norm_over_two_processes_is_that_of_the_joined_batch(tmp_path):
    store = distributed.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    code = f"import sys, torch; sys.path[:0] = {sys.path!r}; from importlib import util; " \
           f"spec = util.spec_from_file_location('part', {__file__!r}); m = util.module_from_spec(spec); " \
           f"spec.loader.exec_module(m); torch.save(m._part(1, {store.port}), 'other.pt')"  # fmt: skip
    with subprocess.Popen([sys.executable, "-c", code]) as other:
        mine = _part(0, store.port)
        assert other.wait(60) == 0
    for (layer, x, weight, bias, slope), own, others in zip(_layers(), mine, torch.load("other.pt"), strict=True):
        x.requires_grad_()
        y = functional.batch_norm(x, layer.running_mean, layer.running_var, weight, bias, training=True)
        y = y.relu() if isinstance(layer, BatchNormAct2d) else y
        (y * slope).sum().backward()
        rest = functional.batch_norm(x, layer.running_mean, layer.running_var, weight, bias).detach()
        rest = rest.relu() if isinstance(layer, BatchNormAct2d) else rest
        joined = [torch.cat(pair) for pair in zip(own[:2], others[:2], strict=True)]
        joined += [mine + theirs for mine, theirs in zip(own[2:4], others[2:4], strict=True)]
        expected = [y.detach(), x.grad, weight.grad, bias.grad, layer.running_mean, layer.running_var, rest]
        for found, wanted in zip([*joined, *own[4:6], torch.cat([own[6], others[6]])], expected, strict=True):
            torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-9)
        assert torch.equal(own[5], others[5])
