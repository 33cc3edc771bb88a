"""Writes what is generated: tables of the documents, the YAML of attacks and exhibits, and a measured table's place.

`make docs` writes all but the last; a measured table is named:

python docs/generate.py runs/report/cifar10_part_attacks/attacks.md
python docs/generate.py runs/report/forged_passports/attacks.md
python docs/generate.py runs/report/photographs_attacks/attacks.md
python docs/generate.py runs/report/findings/report.md
python docs/generate.py runs/bench/performance.md
python docs/generate.py docs/results/cpu/summary.md
python docs/generate.py runs/soak/soak.md
python docs/generate.py runs/calibration/v3/calibration.md
python docs/generate.py runs/forgers/forgers.md
python docs/generate.py runs/false_claims/false_claims.md
python docs/generate.py runs/fingerprints/fingerprints.md
python docs/generate.py runs/models/models.md
"""

from __future__ import annotations

import dataclasses
import math
import re
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from ipr.attacks.base import schemes_of
from ipr.config.registry import entries, load_all
from ipr.config.shipped import shipped
from ipr.judging.forging import forging_cost
from ipr.requests.keys import fields_of
from ipr.schemes.base import abouts
from key_tables import configuration

TOP = Path(__file__).parents[1]

PLACES = {
    "attacks": TOP / "docs" / "results" / "attacks.md",
    "forged_passports": TOP / "docs" / "results" / "attacks.md",
    "photographs_attacks": TOP / "docs" / "passports.md",
    "summary": TOP / "docs" / "results" / "paper.md",
    "soak": TOP / "docs" / "cluster.md",
    "calibration": TOP / "docs" / "verdicts.md",
    "forgers": TOP / "docs" / "verdicts.md",
    "false_claims": TOP / "docs" / "verdicts.md",
}
"""Where measured tables stand that have no page of their own name."""


def attacks_table() -> str:
    """The table of docs/attacks.md."""
    lines = ["| attack | kind | paper | what the attacker has | applies to | settings |", "|---|---|---|---|---|---|"]
    for name, attack in load_all("attack").items():
        settings = ", ".join(f.name for f in dataclasses.fields(attack) if f.name != "name")
        whole = attack.schemes() == schemes_of(*attack.families)
        where = ", ".join(attack.families if whole else attack.schemes())
        lines.append(f"| `{name}` | {attack.kind} | {attack.section} | {attack.attacker_has} | {where} | {settings} |")
    return "\n".join(lines)


def option_files() -> Iterator[tuple[Path, str]]:
    """The YAML of every attack and exhibit of ours, from its dataclass: file and content."""
    for group in ("attack", "exhibit"):
        for name, one in entries(group).items():
            if not one.package:
                yield shipped("conf") / group / f"{name}.yaml", option_file(group, name)


def option_file(group: str, name: str) -> str:
    """One of them: what it is, and every field with its default and the comment that describes it."""
    one = entries(group)[name]
    assert one.file is not None
    kind, about = one.load(), fields_of(one.file, one.attribute)
    first = " ".join(kind.__doc__.partition("\n\n")[0].split())
    lines = [f"# {line}" for line in textwrap.wrap(first, 118)]
    lines += ["defaults:", f"  - /schema/{group}@_here_: {name}", "  - _self_", "", f"name: {name}"]
    default = kind(name=name)
    for field in list(dataclasses.fields(kind))[1:]:
        lines.append(f"{field.name}: {_written(getattr(default, field.name))} # {about[field.name].what}")
    return "\n".join(lines) + "\n"


def _written(value: Any) -> str:
    """A value as YAML in one line."""
    return yaml.safe_dump(value, default_flow_style=True, width=math.inf).removesuffix("...\n").strip()


def schemes_table() -> str:
    """The table of docs/schemes.md."""
    lines = ["| scheme | family | source | embeds | is read by |", "|---|---|---|---|---|"]
    for name, about in abouts().items():
        lines.append(f"| `{name}` | {about.family} | {about.source} | {about.embeds} | {about.reads} |")
    return "\n".join(lines)


def forging_table() -> str:
    """What forging a bound signature costs: the table of docs/verdicts.md."""
    head = "bits | p-value | needed | tries | years, one core | years, 10^6 cores | turned: tries"
    lines = [f"| {head} |", "|---|---|---|---|---|---|---|"]
    for total in (64, 128, 224, 256, 448, 896):
        for power in (40, 80):
            threshold = -power * math.log10(2)
            cost = forging_cost(total, threshold)
            turned = forging_cost(total, threshold, groups=[16] * (total // 16))
            if cost is None or turned is None:
                lines.append(f"| {total} | 2^-{power} | out of reach | | | | |")
                continue
            years = f"{cost.core_years:.1e} | {cost.core_years / 1e6:.1e}"
            tries = f"2^{cost.tries_log2:.1f} | {years} | 2^{turned.tries_log2:.1f}"
            lines.append(f"| {total} | 2^-{power} | {cost.needed} | {tries} |")
    return "\n".join(lines)


def listing(path: Path) -> str:
    """A file of the package that docs/extending.md explains, as a block of code."""
    kind = {".py": "python"}.get(path.suffix, path.suffix.removeprefix("."))
    return f"```{kind}\n{path.read_text().strip()}\n```"


def with_table(text: str, name: str, table: str) -> str:
    """A document with the table between `<!-- NAME -->` and `<!-- end -->` replaced."""
    new, count = re.subn(
        rf"(<!-- {name} -->\n).*?(<!-- end -->)", lambda m: f"{m[1]}{table}\n{m[2]}", text, flags=re.DOTALL
    )
    assert count == 1, f"<!-- {name} --> ... <!-- end --> is there {count} times"
    return new


def main(arguments: list[str]) -> None:
    """Rewrites the documents in place."""
    for name, (path, table) in GENERATED.items():
        path.write_text(with_table(path.read_text(), name, table()))
    for path, content in option_files():
        path.write_text(content)
    for measured in map(Path, arguments):
        if measured.name == "report.md":  # a page of its own
            (TOP / "docs" / "results" / f"{measured.parent.name}.md").write_text(measured.read_text().strip() + "\n")
            continue
        name = measured.parent.name if measured.parent.name in PLACES else measured.stem
        place = PLACES.get(name, TOP / "docs" / measured.name)
        place.write_text(with_table(place.read_text(), name, measured.read_text().strip()))
        if name == "attacks":
            shutil.copy(measured.with_name("forgeries.png"), TOP / "docs" / "images" / "forgeries.png")


PACKAGE = TOP / "tests" / "plugin_package"
LISTED = {
    "pyproject.toml": PACKAGE / "pyproject.toml",
    **{path.name: path for path in PACKAGE.glob("src/*/[a-z]*.py")},
    **{f"{path.parent.name}/{path.name}": path for path in PACKAGE.glob("src/*/conf/*/*.yaml")},
}
"""Files of the package that docs/extending.md explains, by their marks."""

GENERATED: dict[str, tuple[Path, Callable[[], str]]] = {
    **{mark: (TOP / "docs" / "extending.md", partial(listing, path)) for mark, path in LISTED.items()},
    "attacks": (TOP / "docs" / "attacks.md", attacks_table),
    "schemes": (TOP / "docs" / "schemes.md", schemes_table),
    "forging": (TOP / "docs" / "verdicts.md", forging_table),
    "configuration": (TOP / "docs" / "reference" / "configuration.md", configuration),
}
"""What needs no measurement, by its mark: the document that it stands in, and what makes it."""

if __name__ == "__main__":
    main(sys.argv[1:])
