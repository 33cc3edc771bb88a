"""What the README says is run, at a size of seconds."""

import dataclasses
import re
import runpy
import shlex
import shutil
import warnings
from pathlib import Path

import pytest
import torch
import torchvision

import ipr as ipr_
from ipr.config.registry import load_all
from ipr.config.schema import EndpointConfig
from own import owned
from pictures import folder_of_images

TOP = Path(__file__).parents[1]
README = (TOP / "README.md").read_text()
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, re.DOTALL)


def commands_of(text):
    """The lines of a document's bash blocks."""
    blocks = re.findall(r"```bash\n(.*?)```", text, re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if line]


COMMANDS = commands_of(README)
SMALL = [
    "dataset.limit_train=64", "dataset.limit_test=20", "trainer.max_epochs=1", "model.width=0.1", "logger=csv",
    "trainer.progress_bar=false", "verification.forged=2", "optimizer.batch_size=32",
]  # fmt: skip


def test_the_two_commands_come_first_and_are_targets_of_the_makefile():
    assert COMMANDS[:2] == ["make quickstart", "make test"]
    makefile = (TOP / "Makefile").read_text()
    for command in COMMANDS[:2]:
        assert re.search(rf"^{command.split()[1]}:.*##", makefile, re.MULTILINE)
    assert "make quickstart" in (TOP / ".ci" / "run").read_text()
    assert "make test" in (TOP / ".ci" / "run").read_text()


def test_the_readme_is_read_in_five_minutes():
    assert len(README.encode()) <= 7000


def _run_all(commands, ipr, tmp_path):
    Path("secret.key").write_text("a secret of your own\n")
    for command in commands:
        _, name, *arguments = shlex.split(command)
        arguments = [a.replace("FOLDER", str(tmp_path / "images")) for a in arguments]
        if name in ("train", "attack"):
            asked = "logger." in command  # of W&B
            arguments += [one for one in SMALL if not asked or one != "logger=csv"]
            arguments += ["attack_epochs=1"] if name == "attack" else []
            few = "scheme=ipguard" in command or "scheme=dataset_inference" in command  # of 64 training images
            arguments += ["trigger_set.size=20"] if few else []
            if "frontier_stitching" in command:  # it needs a network that has learned something
                arguments += ["trainer.max_epochs=25", "trigger_set.size=4", "scheme.epsilon=0.1", "scheme.epochs=1"]
        arguments += ["hydra.sweeper.n_trials=2"] if "search=" in command else []
        if any("KEY" in a for a in arguments):
            key = max(Path("runs/train").glob("passport_v[23]-alexnet-*")).name
            arguments = [a.replace("KEY", key) for a in arguments]
            arguments += ["dataset.limit_test=20", "forged=2"] if name == "verify" else []
        for scheme in ("ipguard", "lineage", "baseline"):
            if any(scheme.upper() in a for a in arguments):
                run = max(Path("runs/train").glob(f"{scheme}-*")).name
                arguments = [a.replace(scheme.upper(), run) for a in arguments]
        if name == "calibrate":
            arguments += [*SMALL[:3], "optimizer.batch_size=32", "networks=2", "wrong=8"]
        if name == "reproduce":
            arguments = [a.replace("study=all", "study=table_09") for a in arguments]
            if "dry=true" not in arguments:
                arguments += [a for a in SMALL if "width" not in a] + ["scale.seeds=[0]"]
            if "study=photographs_attacks" in command:
                arguments += ["scheme=passport_v2", "attack=null,prune,ones", "attack_epochs=1"]
            if "study=cifar10_part_attacks" in command:
                arguments += ["scheme=passport_v2,uchida", "attack=null,prune,forge_uchida", "attack_epochs=1"]
        outcome = ipr(name, *arguments)
        assert outcome.code in ((0, 1, 3) if name == "verify" else (0,)), (command, outcome.err)


@pytest.mark.system
def test_every_ipr_command_of_the_readme_runs(ipr, tmp_path):
    """And what `make attacks` runs."""
    folder_of_images(tmp_path / "images" / "cifar10")
    commands = [command for command in COMMANDS if command.startswith("ipr ")]
    assert len(commands) >= 4
    page = (TOP / "docs" / "results" / "attacks.md").read_text()
    assert commands_of(page) == ["make attacks IMAGES=FOLDER"]
    recipe = (TOP / "Makefile").read_text().split("\nattacks:")[1].split("\n\n")[0].splitlines()[1:]
    made = [line.strip().removeprefix("$(BIN)/").replace("$(IMAGES)", "FOLDER") for line in recipe]
    assert made[1] == "python docs/generate.py runs/report/cifar10_part_attacks/attacks.md"
    assert made[3] == "python docs/generate.py runs/report/photographs_attacks/attacks.md"
    _run_all([*commands, made[0], made[2]], ipr, tmp_path)
    generate = runpy.run_path(str(TOP / "docs" / "generate.py"))
    table = Path(made[1].split()[-1]).read_text().strip()
    assert re.search(r"\| forge_uchida \| n/a \(.\) \| \*\*2/2\*\*; ", table)
    assert Path(made[1].split()[-1]).with_name("forgeries.png").exists()
    written = generate["with_table"](page, "attacks", table)
    assert table in written
    assert written.split("<!-- attacks -->")[0] == page.split("<!-- attacks -->")[0]
    assert written.split("<!-- end -->")[1] == page.split("<!-- end -->")[1]
    page = (TOP / "docs" / "passports.md").read_text()
    begun = Path(made[3].split()[-1]).read_text().strip()
    assert begun in generate["with_table"](page, "photographs_attacks", begun)


@pytest.mark.system
@pytest.mark.parametrize(
    "document",
    [
        "attacks.md",
        "schemes.md",
        "wandb.md",
        "studies.md",
        "claims.md",
        "commands.md",
        "search.md",
        "suspects.md",
        "verdicts.md",
        "fingerprints.md",
        "passports.md",
        "using.md",
        "results/paper.md",
        "results/photographs.md",
        "results/part/README.md",
    ],
)
def test_every_command_of_a_document_runs(document, ipr, tmp_path):
    for name in ("cifar10", "cifar100"):
        folder_of_images(Path("data") / name)
        folder_of_images(tmp_path / "images" / name)
    commands = commands_of((TOP / "docs" / document).read_text())
    assert commands
    assert all(command.startswith("ipr ") for command in commands)
    _run_all(commands, ipr, tmp_path)


@pytest.mark.slow
@pytest.mark.system
def test_the_tutorial_goes_as_it_says(ipr):
    """With fewer epochs; exit codes are those of the outcomes that it names."""
    Path("secret.key").write_text("a long secret of your own\n")
    key = digest = ""
    for command in commands_of((TOP / "docs" / "tutorial.md").read_text()):
        line, _, said = command.partition(" # ")
        _, name, *arguments = shlex.split(line.replace("KEY", key).replace("DIGEST", digest))
        if name == "train":
            arguments += ["trainer.max_epochs=8", "logger=csv", "trainer.progress_bar=false"]
        outcome = ipr(name, *arguments)
        assert outcome.code == {"": 0, "verified": 0, "inconclusive": 3}[said], (command, outcome)
        assert not said or outcome.out.splitlines()[-1] == said
        if name == "train":
            key = Path(outcome.out.splitlines()[-1].partition(": ")[2]).name
        digest = next(iter(re.findall(r"^commitment: (\w{64})$", outcome.out, re.MULTILINE)), digest)
        succeeded = re.search(r"succeeded at\s+(\d+)", outcome.out)
        assert not succeeded or (int(succeeded[1]) > 0) == ("lift_passport" in command), outcome.out
    assert Path("runs/report/all/index.html").exists()


MESSAGES = re.findall(
    r"```text\n\$ (ipr .*)\n(ipr: error: .*)\n```", (TOP / "docs" / "troubleshooting.md").read_text(), re.MULTILINE
)


@pytest.fixture
def troubled(request_for, trained):
    """A working folder in which the messages arise: a claim that others can read, pictures and files that do not do."""
    run = trained(request_for("scheme=passport_v2", "dataset.image_size=16"))
    shutil.copytree(run.folder.path / "claim", "CLAIM")
    Path("CLAIM").chmod(0o755)
    Path("photos/train/cat").mkdir(parents=True)
    Path("empty.pt").touch()


@pytest.mark.parametrize(("command", "message"), MESSAGES, ids=[command for command, _ in MESSAGES])
def test_every_message_of_the_page_on_troubleshooting_is_printed(command, message, ipr, troubled):
    outcome = ipr(*shlex.split(command)[1:])
    assert outcome.code == 2
    assert re.fullmatch(re.escape(message).replace(r"\.\.\.", ".*"), outcome.err.splitlines()[-1]), outcome.err


def test_the_page_on_troubleshooting_has_messages():
    assert len(MESSAGES) == (TOP / "docs" / "troubleshooting.md").read_text().count("```text\n") >= 20


@pytest.mark.system
def test_every_command_of_the_page_on_clusters_is_one_that_tests_run(ipr, tmp_path, monkeypatch):
    """Those of launchers in tests/cli/test_launchers.py and tests/cluster, which read the page too; the others here."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    folder_of_images(Path("data") / "cifar10")
    commands = commands_of((TOP / "docs" / "cluster.md").read_text())
    launched = [c for c in commands if "hydra/launcher=" in c or c == "squeue --me"]
    here = [c.replace("trainer.devices=4", "trainer.devices=2") for c in commands if c not in launched]
    for command in launched:
        assert re.search(r"hydra/launcher=(joblib|submitit_local|slurm)|squeue", command)
    assert {"status", "gc", "train", "report", "dashboard"} == {c.split()[1] for c in here}
    _run_all(here, ipr, tmp_path)


@pytest.mark.system
def test_every_command_of_the_page_on_exporting_runs(ipr):
    """Each training and what follows it, with the key that it prints; then the page's Python."""
    page = (TOP / "docs" / "export.md").read_text()
    key, asked = "", 0
    for command in commands_of(page):
        program, name, *arguments = shlex.split(command)
        if program == "python":
            assert f"import {Path(name).stem}\n" in (TOP / "tests" / "test_benchmarks.py").read_text()
            continue
        if name == "train":
            arguments += [a for a in SMALL if "model=torchvision" not in arguments or "width" not in a]
            arguments += ["passport=random", "dataset.image_size=16"]
        outcome = ipr(name, *(argument.replace("KEY", key) for argument in arguments))
        assert outcome.code == 0, (command, outcome.err)
        if name == "train":
            key = Path(outcome.out.splitlines()[-1].partition(": ")[2]).name
        asked += 1
    assert asked >= 9
    assert Path("working.safetensors").read_bytes() == next(Path().rglob("alexnet-folded.safetensors")).read_bytes()
    namespace = {}
    exec(compile(re.search(r"```python\n(.*?)```", page, re.DOTALL)[1], "export.md", "exec"), namespace)
    assert len(namespace["answers"]) == 7


def test_every_command_of_the_page_on_performance_is_one_that_tests_run():
    """`make bench` and `make gpu` by their recipes, scripts by tests/test_benchmarks.py."""
    makefile, tests = (TOP / "Makefile").read_text(), (TOP / "tests" / "test_benchmarks.py").read_text()
    tests += (TOP / "benchmarks" / "table.py").read_text()  # a test runs it with all its parts
    tests += (TOP / "tests" / "test_gpu_table6.py").read_text()
    page = (TOP / "docs" / "performance.md").read_text()
    generate = runpy.run_path(str(TOP / "docs" / "generate.py"))
    assert "| a row |" in generate["with_table"](page, "performance", "| a row |")  # what `make bench` ends with
    commands = commands_of(page)
    assert {"make bench", "make gpu IMAGES=FOLDER"} <= {*commands}
    for command in commands:
        if command.startswith("make "):
            recipe = makefile.split(f"\n{command.split()[1]}:")[1].split("\n\n")[0]
            scripts = re.findall(r"benchmarks/(\w+)\.py", recipe)
            assert scripts
        else:
            scripts = re.findall(r"^python benchmarks/(\w+)\.py", command)
            assert scripts, command
        for script in scripts:
            assert (TOP / "benchmarks" / f"{script}.py").exists()
            assert f"import {script}\n" in tests or f"{script}.py" in tests


@pytest.mark.slow
@pytest.mark.system
def test_the_python_of_the_readme_protects_a_network(tmp_path, ipr):
    """On pictures of 16 pixels, and judged by the command that follows it."""
    (code,) = [block for kind, block in BLOCKS if kind == "python"]
    small = code.replace("Resize(72)", "Resize(18)").replace("CenterCrop(64)", "CenterCrop(16)")
    assert small != code
    torch.manual_seed(0)
    train, _ = owned.loaders(owned.pictures(tmp_path / "photos"))
    network = owned.train(torchvision.models.resnet18(num_classes=10), train, 4)
    torch.save(network.state_dict(), "mine.pt")
    Path("secret.key").write_text("a secret of your own\n")
    exec(compile(small.replace("epochs=10", "epochs=5"), "README.md", "exec"), {})
    assert {path.name for path in Path("mine").iterdir()} == {"public.safetensors", "claim", "card.md"}
    (command,) = re.findall(r"`(ipr verify suspect=mine[^`]*)`", README)
    done = ipr(*shlex.split(command)[1:], "rule=paper", "forged=2")
    assert done.code == 0, done
    assert "verified" in done.out

    # and from the command line, as docs/own-network.md has it
    protect_it, verify_it = commands_of((TOP / "docs" / "own-network.md").read_text())
    small = protect_it.replace("resize=72", "resize=18").replace("image_size=64", "image_size=16")
    quick = ("trainer.max_epochs=5", "trainer.progress_bar=false", "logger=csv", "verification.forged=2")
    quick += ("dataset.flip=false", "dataset.crop_padding=1")  # as the loaders above
    done = ipr(*shlex.split(small)[1:], *quick)
    assert done.code == 0, done
    key = next(Path("runs/train").glob("passport_v2-*")).name
    done = ipr(*shlex.split(verify_it.replace("KEY", key))[1:], "rule=paper", "forged=2")
    assert done.code == 0, done


@pytest.mark.system
def test_the_python_of_the_page_on_own_networks_runs():
    page = (TOP / "docs" / "own-network.md").read_text()
    for code in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Lightning's on few workers and missing loggers
            exec(compile(code, "own-network.md", "exec"), {})
    given = torch.load("given_away.pt", weights_only=True)
    torchvision.models.resnet18(num_classes=10).load_state_dict(given)
    assert Path("public.pt").exists()


@pytest.mark.system
def test_the_page_on_black_boxes_says_what_is_so():
    """Its Python runs, its settings exist, and its server is the one that tests/suspects/test_mlserver.py asks."""
    page = (TOP / "docs" / "blackbox.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    namespace = {}
    exec(compile(code, "blackbox.md", "exec"), namespace)
    assert namespace["found"].reading.agreeing == {"trigger set": 20}
    settings = {field.name for field in dataclasses.fields(EndpointConfig)}
    assert {*re.findall(r"endpoint\.(\w+)", page)} <= settings
    assert {*re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)} == settings
    commands = commands_of(page)
    assert {command.split()[0] for command in commands} == {"make", "ipr"}
    (serve,) = (command for command in commands if command.startswith("make "))
    assert serve.split()[1] == "serve"
    assert {word.split("=")[0] for word in serve.split()[2:]} <= {"MODEL", "NAME", "PORT"}
    assert '"serve", f"MODEL={model}", f"NAME={name}"' in (TOP / "tests" / "served.py").read_text()


def test_links_and_pictures_of_the_documents_exist():
    for document in [TOP / "README.md", *TOP.glob("docs/**/*.md"), TOP / "CONTRIBUTING.md"]:
        for target in re.findall(r"\]\((?!http)([^)#]+)\)", document.read_text()):
            assert (document.parent / target).exists(), f"{document.name}: {target}"


def test_every_requirement_of_the_threat_model_names_tests_that_exist():
    page = (TOP / "docs" / "threat-model.md").read_text()
    rows = re.findall(r"^\| (R\d+) \|.*\|$", page, re.MULTILINE)
    assert rows == [f"R{i}" for i in range(1, 16)]
    for row in re.findall(r"^\| R\d+ \|.*\|$", page, re.MULTILINE):
        named = re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", row)
        assert named, row
        for file, test in named:
            assert f"def {test}(" in (TOP / file).read_text(), f"{file}::{test}"


def test_the_threat_model_names_every_attack():
    page = (TOP / "docs" / "threat-model.md").read_text()
    who = page.partition("## The requirements")[0]
    for name in load_all("attack"):
        kind = "forge_*" if name.startswith("forge_") and name != "forge_accessory" else name
        assert f"`{kind}`" in who, name


def test_the_example_of_the_page_on_transformers_runs(capsys):
    page = (TOP / "docs" / "transformers.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    names: dict[str, object] = {}
    exec(compile(code, "transformers.md", "exec"), names)
    block = "encoder.layers.encoder_layer_3"
    found = [(f"{block}.self_attention.out_proj", f"{block}.ln_2"), (f"{block}.mlp.3", "encoder.ln")]
    assert capsys.readouterr().out == f"{found}\n"
    assert len(ipr_.passport_layers(names["protected"])) == 2
