import torch

from ipr.config.schema import ModelConfig
from ipr.models.claimed import network_of
from ipr.randomness import drawing
from ipr.schemes.start import plain_network


def test_draws_inside_follow_the_seed_and_leave_no_trace(monkeypatch):
    """Neither in torch's own generator nor on a GPU, which must not even be looked for."""
    monkeypatch.setattr(torch.cuda, "manual_seed_all", lambda seed: 1 / 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1 / 0)
    before = torch.get_rng_state()
    drawn = []
    for _ in range(2):
        with drawing(5):
            drawn.append(torch.randn(3))
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(5)
        assert torch.equal(torch.randn(3), drawn[0])
    assert torch.equal(drawn[0], drawn[1])
    assert torch.equal(torch.get_rng_state(), before)


def test_networks_are_drawn_without_a_touch_of_gpus(data, forks_of_the_cpu):
    before = torch.get_rng_state()
    model = {"name": "alexnet", "norm": "bn", "width": 0.25}
    one, two = (plain_network(ModelConfig(**model), data, 0).state_dict() for _ in range(2))
    assert all(torch.equal(one[name], two[name]) for name in one)
    network_of({"model": model, "channels_in": 3, "image_size": 16, "num_classes": 10})
    assert len(forks_of_the_cpu) == 3
    assert torch.equal(torch.get_rng_state(), before)
