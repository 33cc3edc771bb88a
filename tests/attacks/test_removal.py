"""Removal attacks that train: what they change, and what they minimise, against values worked out another way."""

import copy
import math
from dataclasses import asdict, replace

import lightning as L
import pytest
import torch
from torch import nn

from ipr.attacks.base import constant_rate
from ipr.attacks.removal.adversarial_finetune import Adversarial
from ipr.attacks.removal.combined import Combined
from ipr.attacks.removal.fine_prune import FinePrune, Pruned, mean_activations, silent_channels
from ipr.attacks.removal.inversion import Patch, anomalous, inverted_images, inverted_patch
from ipr.attacks.removal.label_smoothing import LabelSmoothing, Smoothed
from ipr.attacks.removal.prune import pruned
from ipr.attacks.removal.quantise import Quantise, quantised
from ipr.attacks.removal.regularize import Regularize
from ipr.attacks.removal.unlearn_triggers import Unlearning, UnlearnTriggers
from ipr.attacks.removal.weight_shift import shift_weights
from ipr.attacks.removal.wrk import Unlike, Wrk, pushed_images
from ipr.data.images import LabelledImages, normalise
from ipr.data.share import Share
from ipr.errors import InputError
from ipr.models.inspection import classifier_of, evaluating
from ipr.passport.surgery import find_layers
from ipr.schemes.triggers import TriggerSamples
from ipr.workflows import carrying_out as attacking
from ipr.workflows.attack import attack, with_lengths
from references import small

RECIPE = constant_rate(0.05, 5e-4)
MEAN, STD = (0.5, 0.4, 0.3), (0.25, 0.2, 0.3)


def batch_of(data, count=16):
    return normalise(data.train_pixels[:count], data.mean, data.std), data.train_labels[:count]


def steps_of(scheme, data, count=3):
    """SGD as a training does it, with momentum and weight decay."""
    scheme.train()
    scheme.on_train_epoch_start()
    optimizer = torch.optim.SGD(scheme.trained(), 0.05, momentum=0.9, weight_decay=5e-4)
    x, y = batch_of(data, 32)
    for _ in range(count):
        optimizer.zero_grad()
        torch.stack(list(scheme.terms(x, y).values())).sum().backward()
        optimizer.step()


# weight_shift


@pytest.mark.parametrize("strength", [1.0, 1.5])
def test_the_mean_filter_is_taken_away_so_often(strength, device):
    network = small("alexnet", "bn").to(device)
    before = copy.deepcopy(network)
    shift_weights(network, strength, 0.0, torch.Generator())
    convolutions = [name for name, module in before.named_modules() if isinstance(module, nn.Conv2d)]
    assert len(convolutions) == 5
    for name in convolutions:
        old, new = (one.get_submodule(name).weight.detach().cpu() for one in (before, network))
        mean = sum(old[channel] for channel in range(old.shape[0])) / old.shape[0]
        for channel in range(old.shape[0]):
            torch.testing.assert_close(new[channel], old[channel] - strength * mean)
        torch.testing.assert_close(new.mean(0), (1 - strength) * mean, atol=1e-6, rtol=1e-4)
    state = before.state_dict()
    for name, tensor in network.state_dict().items():
        if name.removesuffix(".weight") not in convolutions:  # norms and the classifier
            assert torch.equal(tensor, state[name])


def test_noise_is_as_large_as_the_weights_of_its_layer():
    network = small("alexnet", "bn")
    before = {name: module.weight.detach() for name, module in copy.deepcopy(network).named_modules()
              if isinstance(module, nn.Conv2d)}  # fmt: skip
    shift_weights(network, 0.0, 0.5, torch.Generator().manual_seed(3))
    for name, old in before.items():
        noise = network.get_submodule(name).weight.detach() - old
        room = 5 / math.sqrt(2 * old.numel())  # five standard deviations of a standard deviation
        assert abs(float(noise.std() / old.std()) - 0.5) < 0.5 * room
        assert abs(float((noise * old).mean() / (noise.std() * old.std()))) < 5 / math.sqrt(old.numel())


# fine_prune


def chain():
    """Two convolutions with norms, ReLU and a classifier; its pairs."""
    torch.manual_seed(5)
    network = nn.Sequential(
        nn.Conv2d(3, 6, 3, bias=True), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 8, 3), nn.BatchNorm2d(8), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10),
    )  # fmt: skip
    for norm in (network[1], network[4]):
        nn.init.normal_(norm.running_mean, 0, 0.2)
        nn.init.normal_(norm.bias, 0, 0.3)
    layers = find_layers(network, torch.randn(1, 3, 16, 16))
    assert [(layer.conv, layer.norm) for layer in layers] == [("0", "1"), ("3", "4")]
    return network, layers


def test_activity_is_the_mean_behind_norm_and_relu(data, device):
    network, layers = chain()
    x = normalise(data.train_pixels, data.mean, data.std)
    with evaluating(network):
        expected = {"0": network[:3](x).mean((0, 2, 3)), "3": network[:6](x).mean((0, 2, 3))}
    images = LabelledImages(data.train_pixels, data.train_labels, data.mean, data.std)
    state = copy.deepcopy(network.state_dict())
    got = mean_activations(network.to(device), layers, images)
    for name, value in expected.items():
        torch.testing.assert_close(got[name].float(), value, rtol=1e-4, atol=1e-5)
    assert all(torch.equal(tensor.cpu(), state[name]) for name, tensor in network.state_dict().items())
    assert not any(module._forward_hooks for module in network.modules())


def test_activity_of_tokens_is_that_of_their_channels():
    """A transformer's norms have channels last."""
    network = small("vit", "bn")
    layers = find_layers(network, torch.randn(1, 3, 16, 16))[-1:]
    seen = []
    handle = network.get_submodule(layers[0].norm).register_forward_hook(lambda _, args, output: seen.append(output))
    pixels = torch.randint(256, (4, 16, 16, 3), dtype=torch.uint8)
    got = mean_activations(network, layers, LabelledImages(pixels, torch.zeros(4).long(), MEAN, STD))
    handle.remove()
    assert seen[0].shape[-1] == layers[0].channels
    expected = torch.stack([token.clamp(min=0) for image in seen[0] for token in image]).mean(0)
    torch.testing.assert_close(got[layers[0].conv].float(), expected)


def test_the_least_active_channels_go_and_one_stays():
    activity = {"a": torch.tensor([0.3, 0.0, 0.1, 0.2]), "b": torch.tensor([0.5, 0.5, 0.4])}
    assert silent_channels(activity, 0.5)["a"].tolist() == [1, 0, 0, 1]
    assert silent_channels(activity, 0.34)["b"].tolist() == [1, 1, 0]
    assert silent_channels(activity, 0.0)["a"].tolist() == [1, 1, 1, 1]
    assert [int(kept.sum()) for kept in silent_channels(activity, 1.0).values()] == [1, 1]


def test_pruned_channels_stay_silent_while_the_rest_learns(data, device):
    network, layers = chain()
    network.to(device)
    kept = {"0": torch.tensor([1.0, 0, 1, 1, 0, 1]), "3": torch.tensor([0.0, 1, 1, 1, 1, 1, 1, 0])}
    scheme = Pruned(network, RECIPE, 10, layers=layers, kept=kept).to(device)
    before = copy.deepcopy(network.state_dict())
    assert not [name for name in scheme.state_dict() if name.startswith("kept")]
    scheme.train()
    x, y = (value.to(device) for value in batch_of(data, 32))
    optimizer = torch.optim.SGD(scheme.trained(), 0.05, momentum=0.9, weight_decay=5e-4)
    for _ in range(3):
        optimizer.zero_grad()
        scheme.terms(x, y)["cross_entropy"].backward()
        optimizer.step()
    scheme.cut()
    for conv, norm in (("0", "1"), ("3", "4")):
        for name in (f"{conv}.weight", f"{conv}.bias", f"{norm}.weight", f"{norm}.bias"):
            tensor, old = network.get_parameter(name), before[name]
            for channel, stays in enumerate(kept[conv]):
                assert bool((tensor[channel] == 0).all()) == (not stays)
                assert not stays or not torch.equal(tensor[channel], old[channel])
    with evaluating(network):
        assert (network[:3](x)[:, [1, 4]] == 0).all()


@pytest.mark.parametrize(("convolutions", "touched"), [(1, ["conv5"]), (2, ["conv4", "conv5"])])
def test_only_the_last_convolutions_are_pruned(convolutions, touched, victim_of, data):
    victim = victim_of("passport_v2")
    asked = FinePrune("fine_prune", ratio=0.5, convolutions=convolutions)
    (attacked,) = asked.run(victim, data, lambda *_, **__: None, 0)
    state = victim.suspect.state_dict()
    changed = {n.partition(".")[0] for n, v in attacked.suspect.state_dict().items() if not torch.equal(v, state[n])}
    assert changed == {*touched, *(name.replace("conv", "norm") for name in touched)}
    for name in touched:
        weight = attacked.suspect.get_parameter(f"{name}.weight")
        assert int((weight.flatten(1) == 0).all(1).sum()) == weight.shape[0] // 2


# losses


@pytest.mark.parametrize("smoothing", [0.0, 0.3, 1.0])
def test_smoothed_labels(smoothing, data):
    network = small("alexnet", "gn").eval()
    x, y = batch_of(data)
    got = Smoothed(network, RECIPE, 10, smoothing=smoothing).terms(x, y)["cross_entropy"]
    targets = torch.full((16, 10), smoothing / 10)
    for row, label in enumerate(y.tolist()):
        targets[row, label] += 1 - smoothing
    p = network(x).softmax(1)
    torch.testing.assert_close(got, -(targets * p.log()).sum(1).mean())


def test_regularisation_comes_first_and_tuning_after_it(victim_of, data):
    seen = []

    def fit(name, scheme, *, epochs, clip_norm, share=None, alone=False):
        seen.append((name, scheme.recipe.weight_decay, epochs, scheme.network))

    (attacked,) = Regularize("regularize", epochs=3).run(victim_of("uchida"), data, fit, 0)
    assert [one[:3] for one in seen] == [("regularised", 0.1, 5), ("regularize", 5e-4, 3)]
    assert all(one[3] is attacked.suspect for one in seen)


# adversarial_finetune


def adversarial(data, **more):
    network = small("alexnet", "bn")
    how = {"epsilon": 0.03, "step": 0.01, "iterations": 3} | more
    return Adversarial(network, RECIPE, 10, data=data, **how)


def pixels_of(x, data):
    mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in (data.mean, data.std))
    return x.cpu() * std + mean


def test_perturbed_images_are_images_within_epsilon_and_harder(data, device):
    data = replace(data, mean=MEAN, std=STD)
    data.train_pixels[:4] = 0
    data.train_pixels[4:8] = 255
    scheme = adversarial(data).to(device).train()
    x, y = (value.to(device) for value in batch_of(data, 32))
    state = copy.deepcopy(scheme.network.state_dict())
    worse = scheme.perturbed(x, y)
    before, after = pixels_of(x, data), pixels_of(worse, data)
    assert (after - before).abs().max() <= 0.03 + 1e-5
    assert (after - before).abs().max() > 0.029
    assert float(after.min()) >= -1e-5
    assert float(after.max()) <= 1 + 1e-5
    assert all(torch.equal(v, state[k]) for k, v in scheme.network.state_dict().items())
    assert scheme.network.training
    assert all(parameter.grad is None for parameter in scheme.network.parameters())
    with evaluating(scheme.network):
        losses = [nn.functional.cross_entropy(scheme.network(one), y) for one in (x, worse)]
    assert losses[1] > losses[0]


def test_one_iteration_is_a_step_along_the_sign_of_the_gradient(data):
    data = replace(data, mean=MEAN, std=STD)
    scheme = adversarial(data, iterations=1, step=0.02, epsilon=0.5).double()
    x, y = batch_of(data, 8)
    pixels = pixels_of(x.double(), data).requires_grad_()
    mean, std = (torch.tensor(values).double().view(1, -1, 1, 1) for values in (MEAN, STD))
    scheme.network.eval()
    nn.functional.cross_entropy(scheme.network((pixels - mean) / std), y).backward()
    expected = (pixels + 0.02 * pixels.grad.sign()).clamp(0, 1).detach()
    scheme.network.train()
    torch.testing.assert_close(pixels_of(scheme.perturbed(x.double(), y), data), expected, atol=1e-6, rtol=0)


def test_what_is_trained_on_is_perturbed(data):
    scheme = adversarial(data)
    x, y = batch_of(data)
    scheme.eval()
    expected = nn.functional.cross_entropy(scheme.network(scheme.perturbed(x, y)), y)
    torch.testing.assert_close(scheme.terms(x, y)["cross_entropy"], expected)


# wrk


def linear(data, classes=10):
    torch.manual_seed(8)
    return nn.Sequential(nn.Flatten(), nn.Linear(data.train_pixels[0].numel(), classes))


def test_pushed_images_follow_the_sign_of_a_logits_gradient_to_the_ends(data):
    """Of a linear network the gradient of z_k is the row W_k: a pixel is white where it is above 0, else black."""
    network = linear(data)
    with torch.no_grad():
        network[1].weight[:, :3] = 0  # pixels that no logit depends on
    rows = network[1].weight.detach().view(10, 3, 16, 16).permute(0, 2, 3, 1)
    got = pushed_images(network, data, 30, 2.0, torch.Generator().manual_seed(1))
    assert got.pixels.dtype == torch.uint8
    assert got.pixels.shape == (30, 16, 16, 3)
    chosen = torch.randperm(64, generator=torch.Generator().manual_seed(1))[:30]
    assert (got.labels != data.train_labels[chosen]).all()
    assert got.labels.unique().numel() > 5
    pushed_to = set()
    for pixels, original in zip(got.pixels, data.train_pixels[chosen], strict=True):
        (label,) = (k for k in range(10) if torch.equal((pixels > 127)[rows[k] != 0], (rows[k] > 0)[rows[k] != 0]))
        pushed_to.add(label)
        assert ((pixels == 0) | (pixels == 255))[rows[label] != 0].all()
        assert torch.equal(pixels[rows[label] == 0], original[rows[label] == 0])
    assert len(pushed_to) > 5


def test_small_steps_of_pushed_images_are_steps_of_pixels(data):
    source = torch.Generator().manual_seed(1)
    got = pushed_images(linear(data), data, 1000, 0.1, source)
    assert got.labels.numel() == 64  # all that there are
    chosen = torch.randperm(64, generator=torch.Generator().manual_seed(1))
    change = got.pixels.float() - data.train_pixels[chosen].float()
    inside = (data.train_pixels[chosen] > 26) & (data.train_pixels[chosen] < 229)
    assert (change[inside].abs() - 25.5).abs().max() <= 0.5


def test_weights_are_turned_away_from_those_before(data):
    network = small("alexnet", "bn")
    triggers = TriggerSamples(pushed_images(network, data, 6, 2.0, torch.Generator()), 2, data, 0)
    scheme = Unlike(network, RECIPE, 10, triggers, weight=0.01)
    before = {n: m.weight.detach().clone() for n, m in network.named_modules() if isinstance(m, nn.Conv2d)}
    assert not [name for name in scheme.state_dict() if name.startswith("before")]
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn(parameter.shape) * 0.1)
    x, y = batch_of(data)
    terms = scheme.terms(x, y)
    expected = sum((network.get_submodule(n).weight * old).sum() for n, old in before.items())
    torch.testing.assert_close(terms["likeness"], 0.01 * expected)
    terms["likeness"].backward()
    for name, old in before.items():
        torch.testing.assert_close(network.get_submodule(name).weight.grad, 0.01 * old)
    assert classifier_of(network)[1].weight.grad is None
    shown = torch.cat([x, triggers.pixels[:2]]), torch.cat([y, triggers.labels[:2]])
    network.eval()
    torch.testing.assert_close(
        scheme.terms(x, y)["cross_entropy"], nn.functional.cross_entropy(network(shown[0]), shown[1])
    )


def test_wrk_has_a_share_of_the_images_and_a_new_classifier(victim_of, data):
    victim = victim_of("trigger_set")
    seen = {}

    def fit(name, scheme, *, epochs, clip_norm, share=None, alone=False):
        seen.update(share=share, scheme=scheme, classifier=classifier_of(scheme.network)[1].weight.detach().clone())

    (attacked,) = Wrk("wrk", clean=0.25).run(victim, data, fit, 0)
    assert seen["share"] == 16
    assert seen["scheme"].triggers.labels.numel() == 16  # of a hundred no more than there are
    assert seen["scheme"].recipe.schedule == "cosine"
    name, owners = classifier_of(victim.suspect)
    assert not torch.equal(seen["classifier"], owners.weight)
    state = victim.suspect.state_dict()
    others = {n for n, v in attacked.suspect.state_dict().items() if not torch.equal(v, state[n])}
    assert others == {f"{name}.weight", f"{name}.bias"}


# unlearn_triggers


def with_planted_patch(data, label=3):
    """Answers by a random linear map of the image, and with one class where a corner is white."""
    network = linear(data)
    with torch.no_grad():
        network[1].weight.mul_(0.1)
        corner = network[1].weight[label].view(3, 16, 16)
        corner[:, :2, :2] = 4.0
        network[1].bias[label] = -20.0
    return network


def test_a_planted_patch_is_found_by_its_class_and_place(data):
    network = with_planted_patch(data)
    x = normalise(data.train_pixels, data.mean, data.std)
    how = {"penalty": 0.01, "steps": 150, "source": torch.Generator().manual_seed(0)}
    found = [inverted_patch(network, x, data, label, **how) for label in range(10)]
    for label, patch in enumerate(found):
        assert patch.losses.shape == (150,)
        assert patch.losses[-1] < 0.7 * patch.losses[0]
        assert patch.works == pytest.approx(float((network(patch.on(x)).argmax(1) == label).float().mean()), abs=0.05)
        assert 0 <= float(patch.mask.min()) <= float(patch.mask.max()) <= 1
        pixels = pixels_of(patch.pattern[None], data)
        assert -1e-5 <= float(pixels.min()) <= float(pixels.max()) <= 1 + 1e-5
    assert found[3].mask[:2, :2].sum() > 0.5 * found[3].size
    assert pixels_of(found[3].pattern[None], data)[0, :, :2, :2].mean() > 0.8
    assert 3 in anomalous(found, 2.0)
    assert found[3].size < 0.5 * min(patch.size for label, patch in enumerate(found) if label != 3)


def patches(*sizes, works=()):
    masks = (torch.full((1, 1), float(size)) for size in sizes)
    return [
        Patch(mask, torch.zeros(1, 1, 1), 0.0 if n in works else 1.0, torch.zeros(1)) for n, mask in enumerate(masks)
    ]


@pytest.mark.parametrize(
    ("sizes", "broken", "expected"),
    [
        ([10, 11, 9, 10.5, 2, 30], (), [4]),  # the median 10.25; deviations 0.25, 0.75, 1.25, 0.25, 8.25, 19.75: MAD 1
        ([10, 11, 9, 10.5, 2, 1], (), [4, 5]),
        ([10, 11, 9, 10.5], (), [2]),  # none is anomalous: the smallest
        ([5, 5, 5, 4], (), [3]),  # no deviation at all
        ([10, 11, 9, 10.5, 2, 30], (4,), [2]),  # what turns no image has no size
        ([3, 2, 1], (0, 1, 2), [2]),
    ],
)
def test_a_patch_is_anomalous_that_is_much_smaller_than_the_others(sizes, broken, expected):
    assert anomalous(patches(*sizes, works=broken), 2.0) == expected


def test_inverted_images_are_answered_with_their_class(data, device):
    network = small("alexnet", "bn").to(device)
    labels = torch.arange(10).repeat_interleave(2)
    pixels = inverted_images(network, labels, data, steps=60, source=torch.Generator().manual_seed(0))
    assert (pixels.shape, pixels.dtype, pixels.device.type) == ((20, 16, 16, 3), torch.uint8, "cpu")
    with evaluating(network):
        answers = network(normalise(pixels.to(device), data.mean, data.std)).argmax(1).cpu()
    assert (answers == labels).float().mean() > 0.9


def test_a_share_of_the_batch_bears_the_patches_and_keeps_its_labels(data):
    torch.manual_seed(0)
    found = [Patch(torch.rand(16, 16), torch.randn(3, 16, 16), 1.0, torch.zeros(1)) for _ in range(2)]
    network = small("alexnet", "gn").eval()
    scheme = Unlearning(network, RECIPE, 10, None, patches=found, stamped=0.2)
    assert {name.partition(".")[0] for name in scheme.state_dict()} == {"network"}
    x, y = batch_of(data, 15)
    got = scheme.with_patches(x)
    for row in range(15):
        expected = found[row % 2].on(x[row : row + 1])[0] if row < 3 else x[row]
        torch.testing.assert_close(got[row], expected)
    torch.testing.assert_close(scheme.terms(x, y)["cross_entropy"], nn.functional.cross_entropy(network(got), y))
    whole, parts = scheme.with_patches(x[:12]), []
    for rank in range(3):  # of several processes each has its share of it
        scheme.share = Share(rank, 3)
        parts.append(scheme.with_patches(scheme.share.of(x[:12])))
    assert all(torch.equal(part, Share(rank, 3).of(whole)) for rank, part in enumerate(parts))


@pytest.mark.parametrize("images", [0, 2])
def test_what_is_inverted_is_trained_to_other_classes(images, victim_of, data):
    seen = []
    asked = UnlearnTriggers("unlearn_triggers", images=images, iterations=2)
    list(asked.run(victim_of("trigger_set"), data, lambda name, scheme, **_: seen.append(scheme), 0))
    (scheme,) = seen
    assert (scheme.triggers is None) == (images == 0)
    if images:
        assert scheme.triggers.labels.shape == (20,)
        assert (scheme.triggers.labels != torch.arange(10).repeat_interleave(2)).all()


# quantise


def test_quantised_weights_are_tuned_where_it_is_asked_for(victim_of, data):
    victim = victim_of("passport_v1", "alexnet", "bn")
    seen = []

    def fit(name, scheme, *, epochs, clip_norm, share=None, alone=False):
        seen.append((name, epochs, scheme.network))

    plain = list(Quantise("quantise", bits=[5, 3]).run(victim, data, fit, 0))
    assert not seen
    assert not any(one.freed for one in plain)
    tuned = list(Quantise("quantise", bits=[5, 3], epochs=2).run(victim, data, fit, 0))
    assert [one[:2] for one in seen] == [("quantise-5", 2), ("quantise-3", 2)]
    assert all(one.freed for one in tuned)
    for one, begun, after in zip(plain, seen, tuned, strict=True):
        assert begun[2] is after.suspect
        assert all(torch.equal(v, one.suspect.state_dict()[k]) for k, v in after.suspect.state_dict().items())


def test_an_attack_is_found_by_what_determines_it():
    """Without a training by what it was found by before it could tune; a combination by the settings of its steps."""
    assert Quantise("quantise", bits=[5]).identity() == {"name": "quantise", "bits": [5]}
    tuned = Quantise("quantise", bits=[5], epochs=1).identity()
    assert tuned == {"name": "quantise", "bits": [5], "epochs": 1, "lr": 0.01, "weight_decay": 5e-4}
    combined = Combined("combined", steps=["quantise", "label_smoothing"], epochs=2).identity()
    assert combined == {
        "name": "combined",
        "steps": [Quantise("quantise").identity(), asdict(LabelSmoothing("label_smoothing", epochs=2))],
    }


# combined


def test_each_step_attacks_what_the_step_before_has_left(victim_of, data):
    victim = victim_of("uchida")
    found = list(Combined("combined", steps=["prune", "quantise", "prune"]).run(victim, data, None, 0))
    assert [list(one.claims) for one in found] == [
        ["steps=prune"],
        ["steps=prune+quantise"],
        ["steps=prune+quantise+prune"],
    ]
    by_hand = [pruned(victim.suspect, 0.9)]  # the last rate of `prune`, the fewest bits of `quantise`
    by_hand += [quantised(by_hand[0], 3)]
    by_hand += [pruned(by_hand[1], 0.9)]
    for one, expected in zip(found, by_hand, strict=True):
        assert all(torch.equal(v, one.suspect.state_dict()[k]) for k, v in expected.state_dict().items())
        assert [*one.claims.values()] == [victim.claim]
        assert not one.freed


@pytest.mark.parametrize("first", ["permute", "prune", "label_smoothing"])
def test_steps_of_v1_have_the_network_in_use(first, victim_of, data):
    """Never the file that lacks the passport's scales, which `permute` by itself attacks last."""
    victim = victim_of("passport_v1", "alexnet", "bn")
    x = normalise(data.test_pixels, data.mean, data.std)
    used = victim.in_use(x[:1])
    seen = []

    def fit(name, scheme, *, epochs, clip_norm, share=None, alone=False):
        seen.append((name, epochs))

    found = list(Combined("combined", steps=[first, "finetune"], epochs=7).run(victim, data, fit, 0))
    assert all(one.freed for one in found)
    assert seen == [*([("1-label_smoothing", 7)] if first == "label_smoothing" else []), ("2-finetune", 7)]
    if first != "prune":
        with evaluating(used), evaluating(found[0].suspect):
            torch.testing.assert_close(found[0].suspect(x), used(x), rtol=1e-4, atol=1e-5)


def test_epochs_of_an_attack_are_those_of_its_steps(request_for):
    def asked(*words):
        return with_lengths(request_for("scheme=passport_v2", *words, command="attack")).attack

    steps = "attack.steps=[prune,quantise,weight_shift,regularize]"
    given = asked("attack=combined", "attack_epochs=3", steps).attacks()
    assert [getattr(step, "epochs", None) for step in given] == [None, 0, 3, 3]
    usual = asked("attack=combined", steps).attacks()
    assert [getattr(step, "epochs", None) for step in usual] == [None, 0, 10, 10]
    assert asked("attack=quantise", "attack_epochs=3").epochs == 0
    assert asked("attack=quantise", "attack_epochs=3", "attack.epochs=1").epochs == 3


@pytest.mark.parametrize(
    ("steps", "scheme", "said"),
    [
        (["prune", "fake1"], "uchida", "[prune,fake1]: fake1 forges claims and changes no network; choose among: "),
        (["combined"], "uchida", "[combined]: combined has steps itself; choose among: "),
        (["weightshift"], "uchida", "[weightshift]: there is no attack weightshift; did you mean weight_shift? "),
        ([], "uchida", "[]: is out of range; give removal attacks"),
        (["permute"], "trigger_set", "[permute]: permute does not apply to scheme=trigger_set, because its mark is "),
    ],
)  # fmt: skip
def test_steps_that_cannot_be_are_refused_in_one_line(steps, scheme, said):
    with pytest.raises(InputError) as refused:
        Combined("combined", steps=steps).check(scheme)
    assert str(refused.value).startswith(f"attack.steps={said}")
    assert "\n" not in str(refused.value)


# on trained networks


CLOCKS = {"finished", "seconds", "share_of_training", "judge_seconds"}


@pytest.mark.parametrize(
    ("scheme", "name"),
    [("passport_v2", "fine_prune"), ("uchida", "weight_shift"), ("trigger_set", "unlearn_triggers"),
     pytest.param("passport_v1", "wrk", marks=pytest.mark.slow),
     pytest.param("passport_v3", "adversarial_finetune", marks=pytest.mark.slow)],
)  # fmt: skip
def test_rows_of_a_trained_network_are_judged(scheme, name, request_for, trained):
    little = ["attack.iterations=2"] if name in ("unlearn_triggers", "adversarial_finetune") else []
    asked = request_for(f"scheme={scheme}", f"attack={name}", "attack.epochs=1", *little, command="attack")
    record = trained(asked).record
    (row,) = attack(asked).rows
    assert (row.attack, row.kind, row.attack_epochs, row.point) == (name, "removal", 1, "")
    assert row.accuracy_before == (record.accuracy_genuine if scheme == "passport_v1" else record.accuracy_without)
    assert 40 * row.accuracy_after == pytest.approx(round(40 * row.accuracy_after))
    assert (row.bits_freed is not None) == (scheme == "passport_v1")
    assert row.dissimilarity == 0
    assert row.attack_succeeded == (row.fidelity_kept and not row.mark_read)
    if scheme == "passport_v2":  # of 96 % of the bits of three layers nothing is left
        assert row.bits_agreeing <= 0.1 * row.bits_total


def test_an_interrupted_combination_goes_on_to_the_same_rows(request_for, trained, monkeypatch, tmp_path):
    class Interrupt(L.Callback):
        def on_train_epoch_start(self, trainer, module):
            if trainer.current_epoch == 1 and isinstance(module, Pruned):
                raise KeyboardInterrupt

    words = ("scheme=passport_v1", "attack=combined", "attack_epochs=2", "trainer.checkpoint_seconds=0")
    asked = request_for(*words, command="attack")
    trained(asked)
    elsewhere = request_for(*words, f"paths.runs={tmp_path}/elsewhere", command="attack")
    trained(elsewhere)
    whole, fit = attack(asked), attacking.fit
    with monkeypatch.context() as patch:
        patch.setattr(attacking, "fit", lambda *a, callbacks, **k: fit(*a, callbacks=[*callbacks, Interrupt()], **k))
        with pytest.raises(KeyboardInterrupt):
            attack(elsewhere)
    gone_on = attack(elsewhere)
    assert not gone_on.found
    bare = [[{k: v for k, v in vars(row).items() if k not in CLOCKS} for row in run.rows] for run in (whole, gone_on)]
    assert bare[0] == bare[1]
    assert [row["point"].count("+") for row in bare[0]] == [0, 1, 2]
    for training in ("1-weight_shift", "2-fine_prune", "3-label_smoothing"):
        one, two = (
            torch.load(run.folder.path / "checkpoints" / training / "last.ckpt", weights_only=True)["state_dict"]
            for run in (whole, gone_on)
        )
        assert all(torch.equal(one[name], two[name]) for name in one)
