import torch

from ipr.randomness import drawing


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
