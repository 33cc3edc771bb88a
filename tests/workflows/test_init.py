"""A run that starts from trained weights: `init`."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from ipr.attacks.ambiguity import guessed_passports
from ipr.data.opening import open_images
from ipr.errors import InputError
from ipr.passport.guesses import singular_passport
from ipr.passport.layer import passport_layers
from ipr.schemes.start import plain_network, start_digest, start_network
from ipr.store.record import load_record
from ipr.workflows.attack import attack
from ipr.workflows.draw_claim import make_claim
from ipr.workflows.named_run import as_run
from ipr.workflows.request import identity_of, key_of, scheme_of
from ipr.workflows.train import train


@pytest.fixture
def begun(request_for):
    """A trained plain network."""
    return train(request_for("scheme=baseline"))


def same(one, two):
    return one.keys() == two.keys() and all(torch.equal(value, two[name]) for name, value in one.items())


def test_by_path_by_folder_or_by_name_it_is_the_same_start(begun, request_for, tmp_path):
    elsewhere = tmp_path / "mine.pt"
    weights = load_file(begun.folder.weights)
    torch.save(weights, elsewhere)
    request = request_for("scheme=baseline")
    data = open_images(request.dataset, request.paths)
    for init in (str(begun.folder.weights), str(begun.folder.path), begun.folder.key, begun.folder.key[:-3]):
        config = replace(request, init=init)
        assert same(start_network(config, data).state_dict(), weights)
        assert key_of(config, data) == key_of(replace(request, init=str(begun.folder.path)), data)
    other = replace(request, init=str(elsewhere))
    assert same(start_network(other, data).state_dict(), weights)
    assert len({key_of(one, data) for one in (request, other, config)}) == 3  # another file is another start
    assert not same(plain_network(request.model, data, request.seed).state_dict(), weights)


@pytest.mark.parametrize("scheme", ["baseline", "passport_v1", "passport_v3", "uchida", "deepsigns"])
def test_every_scheme_starts_from_it(scheme, begun, request_for):
    few = ["scheme.images=4"] if scheme == "deepsigns" else []
    config = request_for(f"scheme={scheme}", f"init={begun.folder.key}", "model.norm=bn", *few)
    data = open_images(config.dataset, config.paths)
    claim = make_claim(config, data, lambda: start_network(config, data))
    network = scheme_of(config).build(config, data, claim, lambda: start_network(config, data)).network
    weights = load_file(begun.folder.weights)
    there = network.state_dict()
    moved = {name for name, value in there.items() if not torch.equal(value, weights[name])}
    passported = scheme.startswith("passport")  # whose scales begin at those that were trained (`passport/begin.py`)
    turned = {f"norm{n}.running_mean" for n in (3, 4, 5)} if scheme == "passport_v1" else set()  # with their filters
    assert moved == ({f"conv{n}.weight" for n in (3, 4, 5)} if passported else set()) | turned
    assert {*weights} - {*there} == (
        {f"norm{n}.{part}" for n in (3, 4, 5) for part in ("weight", "bias")} if scheme == "passport_v1" else set()
    )


def test_a_run_is_recorded_with_its_start_and_passports_are_feature_maps_of_it(begun, request_for):
    made = sorted(begun.folder.path.parent.iterdir())
    run = train(request_for("scheme=passport_v1", f"init={begun.folder.key}", "passport=shuffled"))
    record = load_record(run.folder.record)
    assert len(record.init) == 12
    assert load_record(begun.folder.record).init is None
    assert {*begun.folder.path.parent.iterdir()} == {*made, run.folder.path}  # no other network was trained
    again = train(request_for("scheme=passport_v1", f"init={begun.folder.path}", "passport=shuffled"))
    assert again.found


def test_what_is_no_start_is_refused_and_leaves_nothing_behind(begun, request_for, tmp_path):
    train(request_for("scheme=baseline", "seed=1"))
    runs = sorted(begun.folder.path.parent.iterdir())
    weights = load_file(begun.folder.weights)
    weights["linear.weight"] = weights["linear.weight"][:4].clone()
    save_file(weights, tmp_path / "four.safetensors")
    (tmp_path / "text.pt").write_text("no weights")
    for init, problem in (
        ("nowhere", "is no weights file and no finished training"),
        ("", "is no weights file and no finished training"),
        ("baseline-", "is the beginning of 2 names"),
        (str(tmp_path), "is no weights file and no finished training"),
        (str(tmp_path / "four.safetensors"), "linear.weight"),
        (str(tmp_path / "text.pt"), "text.pt"),
    ):
        with pytest.raises(InputError, match=problem) as caught:
            train(request_for("scheme=passport_v2", "model.norm=bn", f"init='{init}'"))
        assert caught.value.field == "init"
    assert sorted(begun.folder.path.parent.iterdir()) == runs


def test_a_locked_network_is_no_start(request_for):
    locked = train(request_for("scheme=passport_v1"))
    with pytest.raises(InputError, match=r"^init=.*does not hold norm3\.weight.*ipr unlock"):
        train(request_for("scheme=passport_v2", "model.norm=bn", f"init={locked.folder.key}"))


def test_a_locked_network_all_of_whose_norms_are_bare_is_no_start(request_for):
    everywhere = "scheme.layers=[conv1,conv2,conv3,conv4,conv5]"
    locked = train(request_for("scheme=passport_v1", everywhere))
    with pytest.raises(InputError, match=r"^init=.*does not hold norm1\.weight.*ipr unlock"):
        train(request_for("scheme=baseline", f"init={locked.folder.key}"))


def test_weights_that_are_gone_when_the_training_ends_lose_nothing(begun, request_for, tmp_path, monkeypatch):
    import ipr.workflows.train as module

    mine = tmp_path / "mine.safetensors"
    mine.write_bytes(begun.folder.weights.read_bytes())
    plain_fit = module.fit

    def fit_then_remove(*args, **kwargs):
        plain_fit(*args, **kwargs)
        mine.unlink()

    monkeypatch.setattr(module, "fit", fit_then_remove)
    run = train(request_for("scheme=passport_v1", f"init={mine}"))
    assert load_record(run.folder.record) == run.record
    assert len(run.record.init) == 12


def test_weights_that_change_before_the_training_are_refused(begun, request_for, tmp_path, monkeypatch):
    import ipr.workflows.train as module

    mine, weights = tmp_path / "mine.safetensors", load_file(begun.folder.weights)
    save_file(weights, mine)
    plain = module.make_claim

    def changing(*args):
        save_file({name: value + 1 for name, value in weights.items()}, mine)
        return plain(*args)

    monkeypatch.setattr(module, "make_claim", changing)
    with pytest.raises(InputError, match=r"^init=.*was changed since the run was named"):
        train(request_for("scheme=passport_v1", f"init={mine}"))


def test_a_sharded_start_is_named_by_all_that_it_holds(begun, request_for, tmp_path):
    weights = load_file(begun.folder.weights)
    save_file(weights, tmp_path / "part.safetensors")
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": dict.fromkeys(weights, "part.safetensors")}))
    config = request_for("scheme=baseline", f"init={index}")
    data = open_images(config.dataset, config.paths)
    one = key_of(config, data)
    assert same(start_network(config, data).state_dict(), weights)
    save_file({name: value + 1 for name, value in weights.items()}, tmp_path / "part.safetensors")
    assert key_of(config, data) != one


def test_an_attack_finds_the_victim_that_started_from_it(begun, request_for):
    asked = ["scheme=passport_v2", "model.norm=bn", f"init={begun.folder.path}"]
    victim = train(request_for(*asked))
    by_groups = attack(request_for(*asked, "attack=prune", "attack.rates=[0.5]", command="attack"))
    asked = request_for("attack=prune", "attack.rates=[0.5]", f"run={victim.folder.key}", command="attack")
    by_name = attack(as_run(asked, ()))
    assert by_groups.victim.folder == by_name.victim.folder == victim.folder
    assert by_name.found


def test_damped_steps_are_part_of_a_run_and_refused_where_they_cannot_be(request_for):
    asked = (["passport.energy=30"], ["passport.energy=30", "passport.step_energy=3"],
             ["passport.energy=30", "passport.step_energy=30"], ["passport.energy=3"],
             ["passport.energy=3", "passport.step_energy=3"], ["passport.energy=null"])  # fmt: skip
    requests = [request_for("scheme=passport_v2", *given) for given in asked]
    data = open_images(requests[0].dataset, requests[0].paths)
    hidden, same, undamped, three, also, published = (key_of(request, data) for request in requests)
    assert hidden == same
    assert three == also  # steps as at the energy are plain steps
    assert len({hidden, undamped, three, published}) == 4
    run = train(requests[0])
    assert (run.record.energy, run.record.step_energy) == (30.0, 3.0)
    assert train(requests[3]).record.step_energy is None
    for wrong in ("passport.energy=null", "passport.energy=2"):
        with pytest.raises(InputError, match=r"passport\.step_energy"):
            train(request_for("scheme=passport_v2", wrong, "passport.step_energy=3"))


def test_runs_that_were_made_before_steps_could_be_damped_are_found(request_for):
    """The identity of a passport as it was then: no word of steps."""
    config = request_for("scheme=passport_v2", "passport=shuffled", "passport.energy=3")
    passport = identity_of(config, open_images(config.dataset, config.paths))["passport"]
    assert passport == {"name": "shuffled", "images": 20, "energy": 3.0, "key": None}


def test_hooks_end_with_the_fit(request_for):
    config = request_for("scheme=passport_v1", "passport.energy=30", "passport.step_energy=3")
    data = open_images(config.dataset, config.paths)
    scheme = scheme_of(config).build(config, data, make_claim(config, data, lambda: None), lambda: None)
    weights = [layer.conv.weight for layer in passport_layers(scheme.network).values()]
    scheme.on_fit_start()
    assert all(weight._backward_hooks for weight in weights)
    scheme.on_fit_end()
    assert not any(weight._backward_hooks for weight in weights)


@pytest.mark.parametrize("scheme", ["passport_v2", "baseline"])
def test_the_plain_network_of_the_same_request_is_trained_first(scheme, begun, request_for):
    """With other epochs than those that are there it is another, which is made; the key says no path of a machine."""
    named = train(request_for(f"scheme={scheme}", "model.norm=bn", f"init={begun.folder.key}"))
    asked = request_for(f"scheme={scheme}", "model.norm=bn", "init=baseline")
    run = train(asked)
    assert same(load_file(run.folder.weights), load_file(named.folder.weights))
    assert run.folder.path != named.folder.path
    assert (named.record.init, run.record.init) == (
        start_digest(replace(asked, init=begun.folder.key))[:12],
        "baseline",
    )
    assert train(asked).found
    longer = replace(asked, trainer=replace(asked.trainer, max_epochs=2))
    train(longer)
    plain = train(replace(longer, scheme=request_for("scheme=baseline").scheme, init=None))
    assert plain.found
    assert plain.record.epochs == 2
    again = as_run(request_for(f"run={run.folder.key}", "attack=prune", command="attack"), ())
    assert again.init == "baseline"
    (begun.folder.path / "public.safetensors").unlink()
    assert train(asked).found  # what it began with may be gone


@pytest.mark.parametrize("trained", [True, False])
def test_an_attacker_who_knows_the_start_is_given_it(trained, begun, request_for, tmp_path, monkeypatch):
    """The weights of `init`, or those that the seed gives; no longer where the file has changed since."""
    mine = tmp_path / "mine.safetensors"
    mine.write_bytes(begun.folder.weights.read_bytes())
    wanted = ["scheme=passport_v2", "model.norm=bn", *([f"init={mine}"] if trained else [])]
    guess = ["attack=singular_vectors", "attack.images=8", "attack.energies=[3]"]
    seen = []

    def guessed(network, layers, images, energies, source, *, start, count):
        seen.append(start)
        return singular_passport(network, layers, images, energies, source, start=start, count=count)

    monkeypatch.setattr(guessed_passports, "singular_passport", guessed)
    without = attack(request_for(*wanted, *guess, command="attack"))
    known = attack(request_for(*wanted, *guess, "attack.known_start=true", command="attack"))
    assert known.folder.path != without.folder.path
    assert seen[0] is None
    config = request_for(*wanted)
    data = open_images(config.dataset, config.paths)
    there = load_file(mine) if trained else plain_network(config.model, data, config.seed).state_dict()
    assert same({k: v.cpu() for k, v in seen[1].state_dict().items()}, there)
    if trained:
        mine.write_bytes(train(request_for("scheme=baseline", "seed=1")).folder.weights.read_bytes())
        named = [f"run={known.victim.folder.key}", *guess, "attack.known_start=true", "attack_seed=1"]
        with pytest.raises(InputError, match="was changed since"):
            attack(as_run(request_for(*named, command="attack"), ()))
