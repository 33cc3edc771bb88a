"""An attack that lacks its config, its docstring, its threat model or its contract fails here."""

import importlib
import pkgutil
import re
from dataclasses import replace
from inspect import isabstract

import pytest
import torch

import ipr.attacks
from ipr.attacks.base import CLAIMED, Attack, schemes_of
from ipr.config.registry import load_all
from ipr.config.shipped import shipped
from ipr.data.images import LabelledImages
from ipr.errors import InputError
from ipr.judging.alignment import misfit
from ipr.judging.unread import unread
from ipr.judging.verdict import judge_claims
from ipr.passport.bound import Binding, bound_signature

ATTACKS = load_all("attack")
EVERY = schemes_of(*CLAIMED)
VICTIMS = [
    (scheme, model, norm)
    for scheme, model, norm in (
        ("passport_v1", "alexnet", "bn"), ("passport_v1", "alexnet", "gn"), ("passport_v2", "alexnet", "gn"),
        ("passport_v3", "alexnet", "bn"), ("passport_aware", "alexnet", "bn"), ("steganographic", "alexnet", "gn"),
        ("chip", "alexnet", "bn"),
        ("passport_v1", "resnet18", "bn"), ("passport_v2", "resnet18", "gn"),
        *((scheme, "alexnet", "bn") for scheme in EVERY if scheme not in schemes_of("passport")),
        ("uchida", "resnet18", "gn"), ("deepsigns", "resnet18", "bn"), ("trigger_set", "resnet18", "bn"),
        ("passport_v1", "vit", "bn"), ("passport_v2", "vit", "bn"),
    )
]  # fmt: skip
REFUSED = {"vit": ("permute", "flip_groups", "rescale", "structural_obfuscation", "fold_norms")}
"""Model -> attacks that ask for channels that it has not; `rotate` asks for a transformer."""


def refused(name, model, norm):
    return name in REFUSED.get(model, ("rotate",)) or (name, norm) == ("fold_norms", "gn")


def subclasses(kind):
    return {kind, *(d for sub in kind.__subclasses__() for d in subclasses(sub))}


def test_every_attack_is_registered_and_has_its_yaml():
    for module in pkgutil.walk_packages(ipr.attacks.__path__, "ipr.attacks."):
        importlib.import_module(module.name)
    ours = {k for k in subclasses(Attack) if k.__module__.startswith("ipr.attacks.") and not isabstract(k)}
    assert ours == set(ATTACKS.values())
    assert {path.stem for path in shipped("conf").glob("attack/*.yaml")} == ATTACKS.keys()


@pytest.mark.parametrize("name", ATTACKS)
def test_every_attack_says_where_it_comes_from_and_what_its_attacker_has(name):
    attack = ATTACKS[name]
    assert attack.__doc__
    assert not attack.__doc__.startswith(f"{attack.__name__}(")  # what a dataclass without a docstring gets
    assert attack.kind in ("removal", "ambiguity")
    assert f".{attack.kind}." in attack.__module__
    assert attack.section
    assert attack.attacker_has


def instance(name):
    attack = ATTACKS[name](name=name)
    for field, small in (
        ("epochs", 1), ("passports", 3), ("rates", [0.0, 0.5]), ("dissimilarity", [0.1, 0.5]), ("wrong", [0.0, 0.5]),
        ("share", [0.5]), ("energies", [3.0]), ("noise", 1), ("tries", 20), ("slow_tries", 1), ("iterations", 3),
        ("networks", 2),
        ("rounds", 1), ("batch_size", 8), ("samples", 100),
    ):  # fmt: skip
        if hasattr(attack, field):
            setattr(attack, field, small)
    return attack


def carried_out(name, victim, data, seed=0):
    """The attack with one step of training in place of its epochs."""

    def one_step(_, scheme, *, epochs, clip_norm, share=None, alone=False):
        torch.manual_seed(0)
        scheme.train()
        scheme.on_train_epoch_start()
        scheme.log = scheme.log_dict = lambda *_, **__: None
        optimizer = torch.optim.SGD(scheme.trained(), 1e-3)
        x = LabelledImages(data.train_pixels, data.train_labels, data.mean, data.std)
        for images, labels in list(x.batches(16, torch.device("cpu")))[:2]:
            optimizer.zero_grad()
            torch.stack(list(scheme.terms(images, labels).values())).sum().backward()
            optimizer.step()

    return list(instance(name).run(victim, data, one_step, seed))


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    ("name", "victim"),
    [
        pytest.param(name, victim, marks=pytest.mark.slow if victim[1] != "alexnet" and name != "rotate" else ())
        for name in ATTACKS
        for victim in VICTIMS
        if not ATTACKS[name].inapplicable(victim[0]) and not refused(name, *victim[1:])
    ],
    ids=lambda value: value if isinstance(value, str) else "-".join(value),
)
def test_the_contract(name, victim, victim_of, data):
    """Nothing of the victim changes, the same seed gives the same result, and every claim can be judged."""
    attacked_one = victim_of(*victim)
    before = {k: v.clone() for k, v in attacked_one.suspect.state_dict().items()}
    modes = [m.training for m in attacked_one.suspect.modules()]
    learning = [p.requires_grad for p in attacked_one.suspect.parameters()]
    fingerprint = attacked_one.claim.fingerprint()
    first, again = carried_out(name, attacked_one, data), carried_out(name, attacked_one, data)
    assert all(torch.equal(v, before[k]) for k, v in attacked_one.suspect.state_dict().items())
    assert [m.training for m in attacked_one.suspect.modules()] == modes
    assert [p.requires_grad for p in attacked_one.suspect.parameters()] == learning
    assert attacked_one.claim.fingerprint() == fingerprint

    assert first
    points = [point for one in first for point in one.claims]
    assert len(set(points)) == len(points)
    images = LabelledImages(data.test_pixels, data.test_labels, data.mean, data.std)
    for one, same in zip(first, again, strict=True):
        weights = same.suspect.state_dict()
        assert all(torch.equal(v, weights[k]) for k, v in one.suspect.state_dict().items())
        assert {k: c.fingerprint() for k, c in one.claims.items()} == {
            k: c.fingerprint() for k, c in same.claims.items()
        }
        if ATTACKS[name].kind == "ambiguity" and not any("turned" in point for point in one.claims):
            assert one.suspect is attacked_one.suspect
        verdicts = judged(one, attacked_one, images)
        assert len(verdicts) == len(one.claims)


def judged(one, victim, images):
    """The verdicts on an attacked suspect, which a claim may no longer fit."""
    claims = list(one.claims.values())
    try:
        return judge_claims(one.suspect, claims, images)
    except InputError:
        assert misfit(one.suspect, victim.suspect)
        return unread(one.suspect, claims, images)


@pytest.mark.parametrize(
    ("name", "model"), [("rotate", "alexnet"), *((name, m) for m in REFUSED for name in REFUSED[m])]
)
def test_attacks_on_what_a_network_has_not_are_refused(name, model, victim_of, data):
    with pytest.raises(InputError, match=r"model\.name=.*; choose a"):
        carried_out(name, victim_of("passport_v2", model, "bn"), data)


def test_group_norms_are_not_folded(victim_of, data):
    with pytest.raises(
        InputError, match=r"^model\.norm=AlexNet: has no batch norm .*; attack a network with model.norm=bn"
    ):
        carried_out("fold_norms", victim_of("passport_v2", "alexnet", "gn"), data)


@pytest.mark.parametrize(
    "name",
    [
        n
        for n in ATTACKS
        if n != "grind" and not ATTACKS[n].inapplicable("passport_v2") and not refused(n, "alexnet", "bn")
    ],  # grind binds its own
)
def test_what_is_forged_from_a_bound_claim_is_not_bound(name, victim_of, data):
    """Only the owner's own claim, unchanged, keeps the owner's name and the binding."""
    victim = victim_of("passport_v2", "alexnet", "bn")
    given = victim.passport_claim
    capacities = {layer: bits.numel() for layer, bits in given.signature.items()}
    binding = Binding(bytes(32), slow=False)
    bits = bound_signature(given.passport, capacities, "Ada", binding)
    owner = replace(given, signature=bits, owner="Ada", binding=str(binding))
    for one in carried_out(name, replace(victim, claim=owner), data):
        for claim in one.claims.values():
            own = claim.fingerprint() == owner.fingerprint()
            assert (claim.owner, bool(claim.bound)) == (("Ada", True) if own else ("", False))


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_refuses_what_it_does_not_apply_to(name):
    if name == "finetune":  # Table VI tunes baselines too
        ATTACKS[name](name=name).check("baseline")
    else:
        with pytest.raises(InputError, match=f"attack={name}: does not apply to scheme=baseline, because nothing"):
            ATTACKS[name](name=name).check("baseline")
    for scheme in EVERY:
        if scheme in ATTACKS[name].schemes():
            ATTACKS[name](name=name).check(scheme)
        else:
            reason = f"attack={name}: does not apply to scheme={scheme}, because {ATTACKS[name].needs}"
            with pytest.raises(InputError, match=re.escape(reason)):
                ATTACKS[name](name=name).check(scheme)


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [
        ("prune", "rates", [1.5]), ("prune", "rates", []), ("finetune", "start", "x"), ("finetune", "layers", "x"),
        ("finetune", "epochs", 0), ("fake1", "passports", 0), ("fake2", "lr", 0.0), ("fake3", "clip_norm", 0.0),
        ("fake2_signature", "dissimilarity", [-0.1]), ("overwrite", "epochs", 0), ("flip_signs", "rates", [2.0]),
        ("partial_signature", "wrong", [2.0]), ("forge_uchida", "lr", 0.0), ("forge_deepsigns", "iterations", 0),
        ("forge_deepmarks", "lr", -1.0), ("forge_trigger_set", "eta", 0.0), ("forge_trigger_set", "iterations", 0),
        ("forge_trigger_set", "bound", 0.0), ("ones", "energies", []), ("ones", "energies", [0.0]),
        ("ones", "noise", -1), ("singular_vectors", "energies", [-1.0]), ("singular_vectors", "images", 0),
        ("singular_vectors", "vectors", 0),
        ("false_claim", "networks", 1), ("false_claim", "images", 0), ("false_claim", "iterations", 0),
        ("grind_hash", "tries", 0), ("forge_neuralmark", "samples", 0), ("forge_neuralmark", "rounds", 0),
        ("erb", "share", [0.0]), ("erb", "share", [1.5]), ("erb", "share", []), ("erb", "block", ["serb"]),
        ("grind", "hash", ["md5"]), ("grind", "hash", []), ("grind", "tries", 0), ("grind", "slow_tries", 0),
        ("erb", "lift", ["all"]), ("erb", "images", 0),
        ("erb_targeted", "lift", []), ("erb_targeted", "sign_loss_weight", -1.0), ("lift_passport", "images", 0),
        ("erb", "block", []), ("erb", "start", "public"), ("erb", "epochs", 0),
        ("erb", "lr", 0.0),
        ("flip_groups", "rates", [-1.0]), ("rescale", "factor", 0.5),
        ("rescale", "shift", -1.0), ("quantise", "bits", [1]), ("quantise", "bits", []), ("quantise", "epochs", -1),
        ("weight_shift", "strength", -1.0), ("weight_shift", "noise", -1.0), ("weight_shift", "epochs", 0),
        ("fine_prune", "ratio", 1.5), ("fine_prune", "convolutions", 0), ("regularize", "decay", -0.1),
        ("regularize", "first_epochs", 0), ("label_smoothing", "smoothing", 1.1),
        ("adversarial_finetune", "epsilon", 1.5), ("adversarial_finetune", "step", 0.0),
        ("adversarial_finetune", "iterations", 0), ("wrk", "clean", 0.0), ("wrk", "clean", 1.5), ("wrk", "images", 0),
        ("wrk", "step", 0.0), ("wrk", "weight", -1.0), ("wrk", "per_step", 0), ("unlearn_triggers", "penalty", -1.0),
        ("unlearn_triggers", "anomaly", -1.0), ("unlearn_triggers", "iterations", 0),
        ("unlearn_triggers", "stamped", 2.0), ("unlearn_triggers", "images", -1), ("unlearn_triggers", "per_step", 0),
        ("combined", "steps", []), ("combined", "steps", ["fake1"]), ("combined", "steps", ["combined"]),
        ("combined", "steps", ["prune", "nonsense"]), ("combined", "epochs", 0),
        ("distill", "temperature", 0.0), ("distill", "alpha", 1.5),
        ("distill", "norm", "ln"), ("distill", "width", 0.0), ("distill", "epochs", 0), ("from_scratch", "lr", 0.0),
        ("knockoff", "answers", "x"), ("capsule", "filter", "x"), ("capsule", "answers", "x"),
        ("capsule", "alarms", 1.0), ("data_free", "rounds", 0), ("data_free", "batch_size", 1),
        ("structural_obfuscation", "added", 0.0), ("structural_obfuscation", "added", 3.5),
        ("structural_obfuscation", "ways", []), ("structural_obfuscation", "ways", ["zero", "zero"]),
        ("structural_obfuscation", "ways", ["ones"]),
    ],
)  # fmt: skip
def test_a_setting_out_of_range_is_refused_by_name(name, field, value):
    with pytest.raises(InputError, match=rf"attack\.{field}="):
        ATTACKS[name](name=name, **{field: value}).check(ATTACKS[name].schemes()[0])
