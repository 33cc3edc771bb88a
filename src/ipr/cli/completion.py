"""Tab completion: what a shell is told once, and what it asks at every tab. Neither loads torch or Hydra.

    eval "$(ipr --completion bash)"

The shell's function calls `ipr --complete WORD ...`, the last word being the one to complete, and offers the lines that
come back. A line that ends in `=` or `.` goes on; where none comes back the shell completes names of files.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from ipr.cli import COMMANDS
from ipr.config.shipped import studies
from ipr.errors import InputError
from ipr.requests.keys import DECIDES, choices_of, groups_of, keys_of
from ipr.requests.line import VERBS
from ipr.terminal.spelling import choose_among

SWEPT = ("train", "attack", "exhibit", "reproduce")
OPTIONS = ("--help", "--multirun", "-m", "--cfg", "--version")

BASH = r"""_ipr_complete() {
  local line="${COMP_LINE:0:COMP_POINT}" current words reply kept
  current="${line##*[[:space:]]}"
  read -r -a words <<< "${line%"$current"}"
  mapfile -t reply < <(command "${words[0]:-ipr}" --complete "${words[@]:1}" "$current" 2>/dev/null)
  kept=""
  if [[ "$COMP_WORDBREAKS" == *=* && "$current" == *=* ]]; then kept="${current%=*}="; fi
  COMPREPLY=()
  local one
  for one in "${reply[@]}"; do
    COMPREPLY+=("${one#"$kept"}")
    case "$one" in *=|*.) compopt -o nospace ;; esac
  done
}
complete -o default -F _ipr_complete ipr
"""

ZSH = r"""_ipr_complete() {
  local -a reply
  reply=("${(@f)$(command ipr --complete "${(@)words[2,CURRENT]}" 2>/dev/null)}")
  reply=(${reply:#})
  if (( ${#reply} == 0 )); then _files; return; fi
  compadd -Q -S '' -- "${reply[@]}"
}
(( $+functions[compdef] )) || { autoload -Uz compinit && compinit; }
compdef _ipr_complete ipr
"""

FISH = r"""function __ipr_complete
  set -l words (commandline -opc)
  command ipr --complete $words[2..-1] (commandline -ct) 2>/dev/null
end
complete -c ipr -a '(__ipr_complete)'
"""

SHELLS = {"bash": BASH, "zsh": ZSH, "fish": FISH}
"""Shell -> what it is to evaluate."""


def complete(words: Sequence[str]) -> int:
    """Answers `--complete`, or prints what makes a shell ask it; the exit code."""
    if "--complete" in words:
        place = list(words).index("--complete")
        for found in candidates([*words[:place], *words[place + 1 :]]):
            print(found)
        return 0
    option = next(word for word in words if word.startswith("-"))
    rest = [word for word in words if word != option and word not in COMMANDS]
    verb, _, shell = (rest[0] if rest else "").rpartition("=")
    if verb == "uninstall":  # as Hydra's own is taken away
        print("complete -r ipr 2>/dev/null || true")
        return 0
    if shell not in SHELLS or verb not in ("", "install"):
        error = InputError(option, shell or "", "is no shell that is known here", choose_among(shell, SHELLS))
        print(f"ipr: error: {error}", file=sys.stderr)
        return 2
    print(SHELLS[shell], end="")
    return 0


def candidates(words: Sequence[str]) -> list[str]:
    """What the last of some words behind `ipr` may be completed to, each as the whole word; it may be empty."""
    *before, current = words or [""]
    command = next((word for word in before if word in COMMANDS), None)
    if current.startswith("-"):
        return _beginning(current, OPTIONS)
    if command is None:
        return _beginning(current, COMMANDS)
    chosen = dict(word.split("=", 1) for word in before if "=" in word)
    key, equals, value = current.partition("=")
    if equals:
        listed, comma, last = value.rpartition(",")
        begun = f"{key}={listed}{comma}"
        return [f"{begun}{one}" for one in _beginning(last, _values(command, key, chosen))]
    verbs = VERBS.get(command, ()) if not any(word in VERBS.get(command, ()) for word in before) else ()
    groups = groups_of(command)
    names = {name for name, group in groups.items() if group.leaves_a_choice}
    names |= {"hydra/launcher"} if command in SWEPT else set()
    paths = [one.path for one in keys_of(command, {name: choice for name, choice in chosen.items() if name in groups})]
    found = _beginning(current, [*verbs, *(f"{name}=" for name in sorted(names))])
    for path in paths:
        if not path.startswith(current) or path in names or path in chosen or path in DECIDES:
            continue
        section, dot, _ = path[len(current) :].partition(".")
        found.append(f"{current}{section}." if dot else f"{path}=")
    return list(dict.fromkeys(found))


def _values(command: str, key: str, chosen: dict[str, str]) -> list[str]:
    """What a key may be, where that is known; [] for anything, such as a file."""
    if key == "hydra/launcher":
        return [*choices_of("hydra/launcher")]
    if (group := groups_of(command).get(key)) is not None:
        return [choice for choice in group.choices if choice != "default" or len(group.choices) == 1]
    runs = Path(chosen.get("paths.runs", "runs"))
    if key == "run":
        return sorted(path.name for path in runs.glob("train/*") if not path.name.startswith("."))
    if key == "study":
        return ["all", *studies()]
    found = next((one for one in keys_of(command) if one.path == key), None)
    if found is None:
        return []
    if found.kind.startswith("str | None") and key in (groups := groups_of("train")):  # of what runs are chosen by
        return [*groups[key].choices]
    if key == "attack":
        return [*groups_of("attack")["attack"].choices]
    return found.values


def _beginning(word: str, known: Sequence[str] | dict[str, str]) -> list[str]:
    return [one for one in known if one.startswith(word)]
