"""What each attack does, against values worked out another way."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn

from ipr.attacks.ambiguity.accessory_blocks import Cerb, Ierb
from ipr.attacks.ambiguity.erb import BlockSearch, Erb, ErbTargeted, row_sums
from ipr.attacks.ambiguity.fake2 import Fake2Signature, ScaleSearch
from ipr.attacks.ambiguity.fake3 import PassportSearch
from ipr.attacks.ambiguity.flip_signs import FlipSigns
from ipr.attacks.ambiguity.guessed_passports import LiftPassport, Ones, SingularVectors
from ipr.attacks.ambiguity.partial_signature import PartialSignature, with_wrong_bytes
from ipr.attacks.ambiguity.searches import SideBySide
from ipr.attacks.base import constant_rate, example_of, flipped
from ipr.attacks.removal.finetune import Finetune
from ipr.attacks.removal.overwrite import Overwrite
from ipr.attacks.removal.prune import pruned
from ipr.attacks.removal.same_answers import FlipGroups, Permute, Rescale
from ipr.data.images import LabelledImages, normalise
from ipr.errors import InputError
from ipr.judging.claim_kinds import load_claim
from ipr.judging.fidelity import Fidelity, accuracy
from ipr.judging.outcome import outcome_of
from ipr.judging.verdict import claim_of_signs, judge_claims
from ipr.models.inspection import classifier_of, evaluating
from ipr.passport.generate import feature_maps, with_energy
from ipr.passport.layer import passport_layers
from ipr.passport.nonnegative import lift_natural, lift_positive
from ipr.passport.presented import ScalesClaim
from ipr.passport.surgery import ConvNorm, find_layers, protect
from ipr.signature import detect
from references import small


def images_of(data):
    return LabelledImages(data.test_pixels, data.test_labels, data.mean, data.std)


def test_pruning_is_class_blind(device):
    """Against sorting all magnitudes together by hand: one threshold for all layers, and norms are left alone."""
    network = small("alexnet", "bn").to(device)
    got = pruned(network, 0.6)
    weights = {n: m.weight for n, m in network.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)}
    everything = torch.cat([w.detach().abs().flatten() for w in weights.values()]).sort().values
    threshold = everything[round(0.6 * everything.numel()) - 1]
    for name, weight in weights.items():
        expected = torch.where(weight.abs() > threshold, weight, 0)
        assert torch.equal(got.get_submodule(name).weight, expected)
    for name, tensor in got.state_dict().items():
        if "norm" in name:
            assert torch.equal(tensor, network.state_dict()[name])
    assert all(torch.equal(v, network.state_dict()[k]) for k, v in pruned(network, 0.0).state_dict().items())


def test_flipped_inverts_the_share_asked_for_over_all_layers():
    bits = {"a": torch.ones(30, dtype=torch.int8), "b": -torch.ones(70, dtype=torch.int8)}
    got = flipped(bits, 0.25, torch.Generator().manual_seed(0))
    assert sum(int((got[n] != bits[n]).sum()) for n in bits) == 25
    assert all(torch.equal(got[n], -bits[n]) for n, got in [(n, flipped(bits, 1.0, torch.Generator())) for n in bits])
    assert bits["a"].eq(1).all()


def test_channels_without_a_bit_have_none_to_turn():
    bits = {"a": torch.tensor([1, 0, -1, 0] * 10, dtype=torch.int8), "b": torch.zeros(8, dtype=torch.int8)}
    got = flipped(bits, 0.5, torch.Generator().manual_seed(0))
    assert int((got["a"] != bits["a"]).sum()) == 10
    assert torch.equal(got["a"] == 0, bits["a"] == 0)
    assert torch.equal(got["b"], bits["b"])
    other = with_wrong_bytes(bits, 1.0, torch.Generator().manual_seed(0))
    assert torch.equal(other["a"] == 0, bits["a"] == 0)
    assert torch.equal(other["b"], bits["b"])
    assert 0 < int((other["a"] != bits["a"]).sum()) < 20


def fewer(owner):
    """The same claim, in which every third channel carries no bit."""
    signature = {name: bits.clone() for name, bits in owner.signature.items()}
    for bits in signature.values():
        bits[::3] = 0
    return replace(owner, signature=signature)


def test_signs_that_nobody_claims_stay_what_they_are(victim_of, data):
    victim = victim_of("passport_v2")
    victim = replace(victim, claim=fewer(victim.passport_claim))
    (attacked,) = PartialSignature("partial_signature", wrong=[1.0]).run(victim, data, None, 0)
    genuine = victim.passport_claim.affines(victim.suspect)
    for name, pair in attacked.claims["wrong=1"].scales.items():
        gamma, turned = genuine[name][0][0], pair[0] != genuine[name][0][0]
        assert torch.equal(pair[0].abs(), gamma.abs())
        assert turned.any()
        assert not turned[::3].any()


def test_fake2_starts_from_a_sign_in_every_channel(victim_of, data):
    """From 0, scales of channels that carry no bit would begin without a signal."""
    victim = victim_of("passport_v2")
    victim = replace(victim, claim=fewer(victim.passport_claim))
    started = {}

    class Watched(Fake2Signature):
        def _search(self, network, data, start, signature):
            started.update(start)
            raise InputError("seen", "", "", "")

    with pytest.raises(InputError, match="seen"):
        list(Watched("fake2_signature", dissimilarity=[0.0]).run(victim, data, None, 0))
    for name, bits in victim.passport_claim.signature.items():
        assert started[name].abs().eq(1).all()
        assert torch.equal(started[name][bits != 0].to(bits), bits[bits != 0])


def test_a_second_signature_has_as_many_bits_as_the_first(victim_of, data):
    victim = victim_of("passport_v2")
    owner = fewer(victim.passport_claim)
    (attacked,) = Overwrite("overwrite").run(replace(victim, claim=owner), data, lambda *_, **__: None, 0)
    second = attacked.claims["claim=second"]
    assert second.marks().numel() == owner.marks().numel()
    assert any((second.signature[name] != bits).any() for name, bits in owner.signature.items())


def test_wrong_bytes_are_whole_bytes():
    bits = {"a": torch.ones(80, dtype=torch.int8), "b": torch.ones(80, dtype=torch.int8)}
    got = torch.cat(list(with_wrong_bytes(bits, 0.5, torch.Generator().manual_seed(0)).values())).view(-1, 8)
    changed = (got != 1).any(1)
    assert 7 <= int(changed.sum()) <= 10  # ten are replaced; one in 256 by itself
    assert bits["a"].eq(1).all()
    whole = torch.cat(list(with_wrong_bytes(bits, 1.0, torch.Generator().manual_seed(0)).values()))
    assert 0.3 < (whole == 1).float().mean() < 0.7


def test_flipped_scales_judged_together_are_those_of_a_network_with_flipped_scales(victim_of, data):
    """K claims in one trunk pass against K networks, each with its scales written into its norms and one full pass."""
    victim = victim_of("passport_v2")
    (attacked,) = FlipSigns("flip_signs", rates=[0.3, 1.0]).run(victim, data, None, 0)
    assert len(attacked.claims) == 2 * 7
    verdicts = judge_claims(victim.suspect, list(attacked.claims.values()), images_of(data))
    genuine = victim.claim.affines(victim.suspect)
    for (point, claim), verdict in zip(attacked.claims.items(), verdicts, strict=True):
        network = small("alexnet", "gn")
        network.load_state_dict(victim.suspect.state_dict())
        turned = 0
        for name, (gamma, beta) in genuine.items():
            norm = network.get_submodule(name.replace("conv", "norm"))
            scale = claim.scales[name][0]
            assert torch.equal(scale.abs(), gamma[0].abs())
            turned += int((scale != gamma[0]).sum())
            norm.load_state_dict({"weight": scale, "bias": beta[0]})
        assert verdict.fidelity.accuracy == accuracy(network, images_of(data))
        rate, layers = point.split()
        count = sum(genuine[name][0].numel() for name in layers.removeprefix("layers=").split("+"))
        assert turned == round(float(rate.removeprefix("rate=")) * count)
        assert verdict.reading.agreement == 1


@pytest.mark.parametrize(("model", "norm"), [("alexnet", "bn"), ("resnet18", "gn")])
def test_rival_claims_are_judged_as_alone(model, norm, victim_of, data, device):
    victim = victim_of("passport_v2", model, norm)
    victim.suspect.to(device)
    stranger = {n: torch.randn_like(maps) for n, maps in victim.claim.passport.items()}
    claims = [victim.claim, claim_of_signs(replace(victim.claim, passport=stranger), victim.suspect)]
    together = judge_claims(victim.suspect, claims, images_of(data))
    assert together == [judge_claims(victim.suspect, [claim], images_of(data))[0] for claim in claims]


def test_what_fake2_trains_is_scales_and_shifts_alone(victim_of, data, device):
    victim = victim_of("passport_v1", "alexnet", "bn")
    victim.suspect.to(device)
    network = protect(victim.suspect, victim.claim.passport, example_of(data, victim.suspect), public_affine=True)
    search = ScaleSearch(network, constant_rate(0.1, 0.0), 10, start=victim.claim.signature)
    before = {k: v.clone() for k, v in network.state_dict().items()}
    search.train()
    search.on_train_epoch_start()
    search.to(device)
    x, y = next(images_of(data).batches(16, device))
    optimizer = torch.optim.SGD(search.trained(), 0.1)
    search.terms(x, y)["cross_entropy"].backward()
    optimizer.step()
    assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items())
    found = search.scales()
    assert {n: s.shape for n, s in found.items()} == {n: (2, b.numel()) for n, b in victim.claim.signature.items()}
    assert all((s[0] != victim.claim.signature[n]).any() for n, s in found.items())
    # what was trained is what a judge reads: the same answers from norms that hold these scales
    claim = ScalesClaim(found, {n: detect(s[0]) for n, s in found.items()}, thresholds=victim.claim.thresholds)
    (verdict,) = judge_claims(victim.suspect, [claim], images_of(data))
    for name, pair in found.items():
        victim.suspect.get_submodule(name.replace("conv", "norm")).load_state_dict(
            {"weight": pair[0], "bias": pair[1]}, strict=False
        )
    assert verdict.fidelity.accuracy == accuracy(victim.suspect, images_of(data))


def passport_search(victim, data):
    """What fake3 trains, and the signature that it is to spell."""
    claim = victim.claim
    network = protect(victim.suspect, claim.passport, example_of(data, victim.suspect), public_affine=True)
    bits = {n: -b for n, b in claim.signature.items()}
    search = PassportSearch(
        network,
        constant_rate(0.1, 0.0),
        10,
        genuine=claim.passport,
        signature=bits,
        sign_loss_weight=0.1,
        source=torch.Generator().manual_seed(0),
    )
    search.on_train_epoch_start()
    return search, bits


def test_fake3_follows_the_gradient_of_its_loss(victim_of, data, device):
    """Its terms against the paper's formulas written out on the CPU, gradients included."""
    victim = victim_of("passport_v2")
    search, bits = passport_search(victim, data)
    there = copy.deepcopy(search).to(device)
    forged = [maps.detach().clone().requires_grad_() for maps in search.forged]
    sign, closeness = torch.zeros(()), torch.zeros(())
    for name, maps in zip(victim.claim.passport, forged, strict=True):
        conv = passport_layers(search.network)[name].conv
        gamma = nn.functional.conv2d(maps[:1], conv.weight, stride=conv.stride, padding=conv.padding).mean((0, 2, 3))
        sign = sign + torch.clamp(0.1 - gamma * bits[name], min=0).sum()
        closeness = closeness + 1 / (maps - victim.claim.passport[name]).square().mean()
    x, y = next(images_of(data).batches(16, device))
    terms = there.terms(x, y)
    torch.testing.assert_close(terms["sign_loss"].cpu(), 0.1 * sign, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(terms["closeness"].cpu(), closeness, rtol=1e-4, atol=1e-4)
    (terms["sign_loss"] + terms["closeness"]).backward()
    (0.1 * sign + closeness).backward()
    for ours, theirs in zip(there.forged, forged, strict=True):
        torch.testing.assert_close(ours.grad.cpu(), theirs.grad, rtol=1e-3, atol=1e-3)
    assert not any(p.requires_grad for p in there.network.parameters())


def test_fake3_forges_signs_in_full_precision_under_autocast(victim_of, data, device):
    search, _ = passport_search(victim_of("passport_v1", "alexnet", "bn"), data)
    search.to(device)
    x, y = next(images_of(data).batches(16, device))
    plain = search.terms(x, y)
    with torch.autocast(device.type, torch.bfloat16):
        lowered = search.terms(x, y)
        affines = search.affines()
    assert all(part.dtype == torch.float32 for pair in affines.values() for part in pair)
    assert not torch.equal(lowered["cross_entropy"], plain["cross_entropy"])
    for name in ("sign_loss", "closeness"):
        assert torch.equal(lowered[name], plain[name])


@pytest.mark.parametrize("attack", [Finetune("", start="retrain"), Erb("", share=[0.5], block=["ierb"])])
def test_what_an_attack_draws_touches_no_gpu(attack, victim_of, data, forks_of_the_cpu):
    victim = victim_of("passport_v1", "alexnet", "bn")
    before = torch.get_rng_state()
    next(iter(attack.run(victim, data, lambda *_, **__: None, 0)))
    assert forks_of_the_cpu
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("start", "classes", "anew"), [("retrain", 10, True), ("fine_tune", 10, False), ("fine_tune", 7, True)]
)
def test_finetune_begins_the_classifier_anew_when_asked_or_when_the_classes_differ(
    start, classes, anew, victim_of, data
):
    victim = victim_of("passport_v1", "alexnet", "bn")
    other = replace(data, classes=data.classes[:classes], train_labels=data.train_labels % classes)
    seen = {}

    def fit(name, scheme, *, epochs, clip_norm):
        seen["weight"] = classifier_of(scheme.network)[1].weight.detach().clone()
        seen["trained"] = len(scheme.trained())

    (attacked,) = Finetune("finetune", start=start, layers="last").run(victim, other, fit, 0)
    original = classifier_of(victim.suspect)[1].weight
    assert seen["weight"].shape == (classes, original.shape[1])
    assert seen["trained"] == 2
    assert (not anew) == (seen["weight"].shape == original.shape and torch.equal(seen["weight"], original))
    assert attacked.freed
    assert attacked.claims[""] is victim.claim


def test_trigger_images_are_read_with_the_owners_classifier_where_the_classes_differ(victim_of, data):
    victim = victim_of("trigger_set", "alexnet", "bn")
    other = replace(data, classes=data.classes[:7], train_labels=data.train_labels % 7)

    def fit(name, scheme, *, epochs, clip_norm):
        with torch.no_grad():
            scheme.network.conv1.weight.mul_(1.5)

    tuned, restored = Finetune("finetune").run(victim, other, fit, 0)
    assert (list(tuned.claims), list(restored.claims)) == ([""], ["classifier=owner"])
    assert classifier_of(tuned.suspect)[1].out_features == 7
    owners = classifier_of(restored.suspect)[1]
    assert torch.equal(owners.weight, classifier_of(victim.suspect)[1].weight)
    assert torch.equal(restored.suspect.conv1.weight, tuned.suspect.conv1.weight)
    assert not torch.equal(restored.suspect.conv1.weight, victim.suspect.conv1.weight)
    (alone,) = Finetune("finetune").run(victim, data, fit, 0)  # the same classes: the new classifier answers
    (bits,) = Finetune("finetune").run(victim_of("uchida", "alexnet", "bn"), other, fit, 0)  # no images to read
    assert list(alone.claims) == list(bits.claims) == [""]


def test_v1_in_use_is_the_network_with_its_passport(victim_of, data):
    victim = victim_of("passport_v1", "alexnet", "bn")
    protected = protect(victim.suspect, victim.claim.passport, example_of(data, victim.suspect), public_affine=True)
    x = next(images_of(data).batches(8, torch.device("cpu")))[0]
    used = victim.in_use(example_of(data, victim.suspect))
    with evaluating(used), evaluating(protected):
        torch.testing.assert_close(used(x), protected(x), rtol=1e-5, atol=1e-5)
    other = victim_of("passport_v2")
    assert other.in_use(x) is other.suspect


def test_one_rule_says_whether_an_attack_succeeded(victim_of, data):
    victim = victim_of("passport_v2")
    (verdict,) = judge_claims(victim.suspect, [victim.claim], images_of(data))
    lasting = replace(verdict, fidelity=Fidelity(0.9, 0.9, 0.03), accuracy_without=0.9)
    unread = replace(lasting, reading=replace(verdict.reading, p_value=0.5))
    broken = replace(unread, accuracy_without=0.5)
    other = replace(victim.claim, signature={n: -b for n, b in victim.claim.signature.items()})

    def said(claim, verdict, same_task=True):
        return outcome_of(victim.claim, claim, verdict, accuracy_before=0.9, same_task=same_task, bits_freed=None)

    assert not said(victim.claim, lasting).attack_succeeded  # the owner is still read
    assert said(victim.claim, unread).attack_succeeded  # removed, and the suspect works
    assert not said(victim.claim, broken).attack_succeeded  # removed, and the suspect is broken
    assert said(victim.claim, broken, same_task=False).attack_succeeded  # on another task there is nothing to lose
    assert said(victim.claim, broken, same_task=False).fidelity_kept is None
    forged = said(other, lasting)
    assert (forged.forged, forged.mark_read, forged.fidelity_kept, forged.attack_succeeded) == (True,) * 4
    assert forged.dissimilarity == 1
    assert not said(other, unread).attack_succeeded
    assert not said(other, replace(lasting, fidelity=Fidelity(0.5, 0.9, 0.03))).attack_succeeded
    stolen = replace(victim.claim, passport={n: p + 1 for n, p in victim.claim.passport.items()})
    assert not said(stolen, lasting).attack_succeeded  # another passport for the owner's own signature (Table VII)


def test_a_claim_of_scales_survives_its_folder(victim_of, tmp_path):
    victim = victim_of("passport_v2")
    scales = {n: torch.cat(pair) for n, pair in victim.claim.affines(victim.suspect).items()}
    claim = victim.claim.with_scales(scales)
    claim.save(tmp_path / "claim")
    assert load_claim(tmp_path / "claim").fingerprint() == claim.fingerprint() != victim.claim.fingerprint()


def test_a_lifted_passport_is_the_network_as_it_was_given_away(victim_of, data):
    """Image by image, and the claim is nobody's: no owner, no binding, no trigger set."""
    victim = victim_of("passport_v3", "alexnet", "bn")
    for name, parameter in victim.suspect.named_parameters():
        if "norm" in name:
            torch.nn.init.normal_(parameter, 0.5, 1.0)
    (attacked,) = LiftPassport("lift_passport").run(victim, data, None, 0)
    claim, *_ = attacked.claims.values()
    presented = protect(victim.suspect, claim.passport, example_of(data, victim.suspect), public_affine=False)
    x = next(images_of(data).batches(40, torch.device("cpu")))[0]
    with evaluating(victim.suspect), evaluating(presented):
        torch.testing.assert_close(presented(x), victim.suspect(x), rtol=1e-3, atol=1e-4)
    for name, bits in claim.signature.items():
        assert torch.equal(bits, detect(victim.suspect.get_submodule(name.replace("conv", "norm")).weight))
    assert (claim.owner, claim.binding, claim.triggers) == ("", None, None)


def test_scales_of_ones_are_sums_over_the_image(victim_of, data):
    """A claim of ones against a convolution of ones; of many energies each is a multiple of the other."""
    victim = victim_of("passport_v1", "alexnet", "bn")
    (attacked,) = Ones("ones", energies=[1.0, 4.0], noise=2).run(victim, data, None, 0)
    assert len(attacked.claims) == (4 + 2) * 2
    for signs, (gamma_sign, beta_sign) in {"+-": (1, -1), "--": (-1, -1)}.items():
        one, four = (attacked.claims[f"signs={signs} energy={energy}"] for energy in (1, 4))
        for name, (gamma, beta) in one.affines(victim.suspect).items():
            conv = victim.suspect.get_submodule(name)
            maps = torch.ones(1, *one.passport[name].shape[1:])
            sums = nn.functional.conv2d(maps, conv.weight, padding=conv.padding).mean((0, 2, 3)).detach()
            for got, sign in ((gamma[0], gamma_sign), (beta[0], beta_sign)):
                cosine = nn.functional.cosine_similarity(got.detach(), sums, dim=0)
                assert float(cosine) == pytest.approx(sign, abs=1e-4)
            torch.testing.assert_close(four.affines(victim.suspect)[name][0], 4 * gamma, rtol=1e-4, atol=1e-5)


def test_singular_vectors_need_no_more_images_than_there_are(victim_of, data):
    victim = victim_of("passport_v2")
    (attacked,) = SingularVectors("singular_vectors", images=10_000).run(victim, data, None, 0)
    (claim,) = attacked.claims.values()
    assert judge_claims(victim.suspect, [claim], images_of(data))[0].reading.agreement == 1


def test_singular_vectors_of_what_changed_need_a_start(victim_of, data):
    with pytest.raises(InputError, match=r"attack\.known_start=True"):
        next(SingularVectors("singular_vectors", known_start=True).run(victim_of("passport_v2"), data, None, 0))


def _trained_at_random(seen):
    """A `Fit` that moves what is trained at random, and notes (name, epochs, share, block -> both scales)."""

    def fit(name, scheme, *, epochs, clip_norm, share=None):
        searches = scheme.by_name if isinstance(scheme, SideBySide) else {name.split("-")[0]: scheme}
        begun = {block: search.scales() for block, search in searches.items()}
        with torch.no_grad():
            for parameter in scheme.trained():
                parameter.add_(0.1 * torch.randn(parameter.shape))
        found = {block: (begun[block], search.scales()) for block, search in searches.items()}
        seen.append((name, epochs, share, found))

    return fit


@pytest.mark.parametrize("start", ["ones", "row_sums"])
def test_what_erb_trains_is_lifted_to_a_passport_with_these_scales(start, victim_of, data):
    victim = victim_of("passport_v1", "alexnet", "bn")
    seen = []
    attack = Erb("erb", share=[0.05, 0.5, 1.0], start=start, epochs=4)
    found = list(attack.run(victim, data, _trained_at_random(seen), 0))
    assert [trained[:3] for trained in seen] == [  # 3 and 32 of 64 images
        ("plain-cerb-ierb-0.05", 4, 3), ("plain-cerb-ierb-0.5", 4, 32), ("plain-cerb-ierb-1", 4, None),
    ]  # fmt: skip
    assert [one.trainings for one in found] == [3, 3, 3]
    sums = {n: victim.suspect.get_submodule(n).weight.detach().sum((1, 2, 3)) for n in victim.claim.layers}
    for attacked, (*_, searches), share in zip(found, seen, ("0.05", "0.5", "1"), strict=True):
        assert list(attacked.claims) == [
            f"block={b} share={share}{how}"
            for b in ("plain", "cerb", "ierb")
            for how in ("", " lift=positive", " lift=natural")
        ]
        assert attacked.suspect is victim.suspect
        for block, (begun, scales) in searches.items():
            for name, pair in begun.items():  # blocks begin as the identity
                expected = torch.ones_like(pair[0])
                if start == "row_sums":
                    expected = sums[name] / sums[name].square().mean().sqrt()
                torch.testing.assert_close(pair[0], expected)
                assert (pair[1] == 0).all()
            claim = attacked.claims[f"block={block} share={share}"]
            assert claim.brings_passport
            for name, affine in claim.affines(victim.suspect).items():
                torch.testing.assert_close(torch.cat(affine).detach(), scales[name], rtol=1e-3, atol=1e-3)
                assert torch.equal(claim.signature[name], detect(affine[0][0]))
            for how in ("positive", "natural"):
                other = attacked.claims[f"block={block} share={share} lift={how}"]
                for name, affine in other.affines(victim.suspect).items():
                    assert (other.passport[name] >= 0).all()  # behind a ReLU, in AlexNet
                    assert torch.equal(other.signature[name], detect(affine[0][0]))


def test_erb_trains_no_share_again_whose_points_are_judged(victim_of, data):
    victim, seen = victim_of("passport_v1", "alexnet", "bn"), []
    judged = frozenset({"block=plain share=0.5", "block=cerb share=0.5", "block=cerb share=1"})
    attack = Erb("erb", share=[0.5, 1.0], block=["plain", "cerb"], lift=["any"], epochs=1)
    found = list(attack.run(replace(victim, judged=judged), data, _trained_at_random(seen), 0))
    assert [name for name, *_ in seen] == ["plain-1"]
    assert [list(one.claims) for one in found] == [["block=plain share=1"]]


def test_a_forger_chooses_a_signature_before_he_sees_the_network(victim_of, data):
    """erb_targeted: the same bits for every block and share, not the owner's, not what the passport spells."""
    victim = victim_of("passport_v1", "alexnet", "bn")
    attack = ErbTargeted("erb_targeted", share=[0.5, 1.0], lift=["any"], epochs=1)
    found = [c for one in attack.run(victim, data, _trained_at_random([]), 0) for c in one.claims.values()]
    other = next(iter(next(attack.run(victim, data, _trained_at_random([]), 1)).claims.values()))
    first = found[0]
    assert all(torch.equal(claim.marks(), first.marks()) for claim in found)
    assert not torch.equal(other.marks(), first.marks())
    agreeing = (first.marks() == victim.claim.marks()).double().mean()
    assert 0.3 < agreeing < 0.7
    scales = torch.cat([gamma[0] for gamma, _ in first.affines(victim.suspect).values()])
    assert not torch.equal(detect(scales), first.marks())


@pytest.mark.parametrize("block", [Cerb, Ierb])
def test_accessory_blocks_are_the_papers(block, victim_of, data):
    """gamma'' by loops, with hidden layers of C / 8 and of 10; gradients reach scales, shifts and blocks alone."""
    victim = victim_of("passport_v1", "alexnet", "bn")
    network = protect(victim.suspect, victim.claim.passport, example_of(data, victim.suspect), public_affine=True)
    start = {name: torch.ones(bits.numel()) for name, bits in victim.claim.signature.items()}
    search = BlockSearch(network, constant_rate(0.1, 0.0), 10, block=block, seed=3, start=start)
    again = BlockSearch(network, constant_rate(0.1, 0.0), 10, block=block, seed=3, start=start)
    assert all(torch.equal(v, again.state_dict()[k]) for k, v in search.state_dict().items())
    with torch.no_grad():
        for parameter in search.blocks.parameters():
            parameter.add_(torch.randn(parameter.shape))
    for made, gamma, got in zip(search.blocks, search.gamma, search.effective(), strict=True):
        if block is Cerb:
            assert made.into.weight.shape == (gamma.numel() // 8, gamma.numel())
            hidden = made.into.weight @ gamma + made.into.bias
            hidden = torch.where(hidden > 0, hidden, 0.01 * hidden)
            expected = made.out.weight @ hidden + made.out.bias + gamma
        else:
            assert made.into.shape == (gamma.numel(), 10)
            single = []
            for i, value in enumerate(gamma):
                hidden = [made.into[i, j] * value + made.into_bias[i, j] for j in range(10)]
                hidden = [h if h > 0 else 0.01 * h for h in hidden]
                single.append(sum(made.out[i, j] * h for j, h in enumerate(hidden)) + made.out_bias[i] + value)
            expected = torch.stack(single)
        torch.testing.assert_close(got, expected)
    search.train()
    search.on_train_epoch_start()
    x, y = next(images_of(data).batches(16, torch.device("cpu")))
    terms = search.terms(x, y)
    assert list(terms) == ["cross_entropy"]
    terms["cross_entropy"].backward()
    assert all(parameter.grad is not None for parameter in search.trained())
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_signs_are_asked_of_what_comes_out_of_a_block(victim_of, data):
    """The sign loss of erb_targeted: alpha sum max(0.1 - b gamma'', 0), whose gradient reaches the blocks."""
    victim = victim_of("passport_v1", "alexnet", "bn")
    network = protect(victim.suspect, victim.claim.passport, example_of(data, victim.suspect), public_affine=True)
    bits = victim.claim.signature
    start = {name: torch.ones(own.numel()) for name, own in bits.items()}
    shared = {"start": start, "signature": bits, "sign_loss_weight": 0.3}
    search = BlockSearch(network, constant_rate(0.1, 0.0), 10, block=Cerb, seed=3, **shared)
    with torch.no_grad():
        for parameter in search.blocks.parameters():
            parameter.add_(torch.randn(parameter.shape))
    x, y = next(images_of(data).batches(16, torch.device("cpu")))
    found = search.terms(x, y)["sign_loss"]
    gamma = torch.cat(search.effective())
    assert not torch.equal(gamma, torch.cat(list(search.gamma)))
    wanted = torch.cat(list(bits.values()))
    torch.testing.assert_close(found, 0.3 * (0.1 - wanted * gamma).clamp(min=0).sum())
    found.backward()
    assert all(parameter.grad is not None for parameter in search.blocks.parameters())


def test_a_natural_passport_is_the_best_sum_of_feature_maps(victim_of, data):
    """Non-negative least squares, by its optimality conditions; what can be met is met."""
    victim = victim_of("passport_v2")
    example = example_of(data, victim.suspect)
    layers = find_layers(victim.suspect, example, victim.claim.layers)
    x = normalise(data.train_pixels, data.mean, data.std)
    maps = feature_maps(victim.suspect, layers, x)
    source = torch.Generator().manual_seed(0)
    asked = {layer.conv: torch.randn(2, layer.channels, generator=source) for layer in layers}
    found = lift_natural(asked, victim.suspect, layers, x)
    for layer in layers:
        conv, own = victim.suspect.get_submodule(layer.conv), maps[layer.conv].double()
        weight = conv.weight.detach().double()
        each = nn.functional.conv2d(own, weight, stride=conv.stride, padding=conv.padding).mean((2, 3))  # (N, C)
        got = nn.functional.conv2d(
            found.passport[layer.conv].double(), weight, stride=conv.stride, padding=conv.padding
        ).mean((2, 3))
        missing = asked[layer.conv].double() - got
        slope = missing @ each.T  # how much more of each map would help: nowhere
        size = each.norm(dim=1) * missing.norm(dim=1, keepdim=True)
        assert (slope / size).max() < 1e-4
        residual = missing.norm() / asked[layer.conv].double().norm()
        assert found.residual[layer.conv] == pytest.approx(float(residual), rel=1e-4)
        assert 0 < residual < 1.01  # nothing of them may help, and a little is taken all the same
    reached = {
        name: torch.stack([scales @ torch.rand(len(x), generator=source) for _ in range(2)])
        for name, scales in (
            (n, nn.functional.conv2d(m, victim.suspect.get_submodule(n).weight.detach(), padding=1).mean((2, 3)).T)
            for n, m in maps.items()
        )
    }
    met = lift_natural(reached, victim.suspect, layers, x)
    assert all(residual < 1e-5 for residual in met.residual.values())


@pytest.mark.parametrize(
    ("conv", "size"),
    [
        (nn.Conv2d(12, 6, 3, padding=1, bias=False), (5, 7)), (nn.Conv2d(12, 6, 3, stride=2, bias=False), (8, 6)),
        (nn.Conv2d(12, 6, 3, padding=1, groups=3, bias=False), (6, 6)), (nn.Conv2d(40, 8, 1, bias=False), (3, 3)),
        (nn.Conv2d(12, 6, 3, padding=2, dilation=2, padding_mode="reflect", bias=False), (6, 6)),
        (nn.Linear(40, 8, bias=False), (5, 1)),
    ],
)  # fmt: skip
def test_a_passport_that_is_not_negative_has_any_scales(conv, size):
    """Exact where a filter has many more numbers than there are filters; Avg(W * P) by the layer itself."""
    torch.manual_seed(0)
    conv = copy.deepcopy(conv).double()
    nn.init.normal_(conv.weight)
    network = nn.Sequential(conv)
    channels_in = conv.weight.shape[1] * getattr(conv, "groups", 1)
    channels = conv.weight.shape[0]
    layer = ConvNorm("0", "1", (channels_in, *size), channels)
    asked = {"0": torch.randn(2, channels, dtype=torch.float64)}
    found = lift_positive(asked, network, [layer])
    maps = found.passport["0"]
    assert maps.shape == (2, channels_in, *size)
    assert (maps >= 0).all()
    got = conv(maps.flatten(2).mT).mean(1) if isinstance(conv, nn.Linear) else conv(maps).mean((2, 3))
    torch.testing.assert_close(got.detach(), asked["0"], rtol=1e-6, atol=1e-6)
    assert found.residual["0"] < 1e-9


def test_a_natural_passport_of_nothing_says_something(victim_of, data):
    """Shifts of 0, as fresh norms have, ask for a mean patch of 0, which a judge refuses."""
    victim = victim_of("passport_v2")
    layers = find_layers(victim.suspect, example_of(data, victim.suspect), victim.claim.layers)
    x = normalise(data.train_pixels, data.mean, data.std)
    asked = {layer.conv: torch.zeros(2, layer.channels) for layer in layers}
    passport = lift_natural(asked, victim.suspect, layers, x).passport
    victim.claim.forged(passport=passport).checked_affines(victim.suspect)


def test_row_sums_of_a_layer_have_a_mean_square_of_1(victim_of, data):
    victim = victim_of("passport_v2")
    places = find_layers(victim.suspect, example_of(data, victim.suspect), victim.claim.layers)
    for name, sums in row_sums(victim.suspect, places).items():
        assert sums.square().mean() == pytest.approx(1)
        plain = victim.suspect.get_submodule(name).weight.detach().flatten(1).sum(1)
        torch.testing.assert_close(sums * plain.square().mean().sqrt(), plain)


@pytest.mark.sampled(3)
@pytest.mark.parametrize(("model", "norm"), [("alexnet", "bn"), ("alexnet", "gn"), ("resnet18", "bn")])
@pytest.mark.parametrize("scheme", ["passport_v1", "passport_v2"])
def test_free_removal_changes_bits_and_no_answer(scheme, model, norm, victim_of, data):
    """Each network that is held answers as before; what is read of the signature is counted."""
    victim = victim_of(scheme, model, norm)
    example = example_of(data, victim.suspect)
    held = victim.held(example)
    assert list(held) == (["", "file=locked"] if scheme == "passport_v1" else [""])
    x = normalise(data.test_pixels, data.mean, data.std)
    shares = {}
    for attack in (Permute(), FlipGroups(rates=[0.0, 1.0]), Rescale(factor=4.0)):
        for one in attack.run(victim, data, None, 0):
            (point,) = one.claims
            before = held["file=locked" if "file=locked" in point else ""]
            with evaluating(before), evaluating(one.suspect):
                expected, got = before(x), one.suspect(x)
            assert float((got - expected).abs().max()) <= 1e-5 * float(expected.abs().max())
            reading = judge_claims(one.suspect, [victim.claim], images_of(data))[0].reading
            shares.setdefault(f"{type(attack).__name__} {point}".split(" file")[0].strip(), []).append(
                reading.agreement
            )
    assert set(shares.pop("FlipGroups rate=1")) == {0.0}
    assert set(shares.pop("FlipGroups rate=0")) == {1.0}
    assert all(0.2 < share < 0.8 for share in shares.pop("Permute"))
    assert shares.pop("Rescale")[0] != 1.0
    assert not shares


def test_a_network_without_channels_to_move_is_refused_by_the_free_removals(victim_of, data):
    victim = replace(victim_of("uchida"), suspect=nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 10)))
    with pytest.raises(InputError, match=r"its channels cannot be moved \(they are the output\)"):
        list(Permute().run(victim, data, None, 0))


@pytest.mark.parametrize(("energy", "damping"), [(30.0, 3.0), (3.0, 3.0), (None, None)])
def test_a_second_passport_is_trained_with_the_steps_of_the_first(energy, damping, victim_of, data):
    """As trainings are by default, where an energy of 3 is not damped; nor is one as published."""
    victim = victim_of("passport_v2")
    if energy is not None:
        owner = victim.passport_claim
        passport = with_energy(owner.passport, victim.suspect, energy)
        victim = replace(victim, claim=replace(owner, passport=passport))
    seen = []

    def fit(name, scheme, *, epochs, clip_norm, share=None):
        seen.append(scheme.damping)

    (attacked,) = Overwrite("overwrite").run(victim, data, fit, 0)
    assert seen == [damping]
    first, second = (claim.energies(victim.suspect) for claim in attacked.claims.values())
    assert all(torch.allclose(second[name], own, rtol=1e-4) for name, own in first.items())
