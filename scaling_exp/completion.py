"""Completion of verbs and Hydra overrides in a shell: what could follow the line that was typed so far.

Hydra knows what it would accept, but completes no program that has verbs; so it is asked for the rest of the line.
A shell asks at every Tab: only Hydra is imported, and that only behind a verb that it composes.
"""

from __future__ import annotations

from collections.abc import Iterable

from scaling_exp.locations import conf_folder

COMPOSED = {
    **dict.fromkeys(("run", "plan", "submit"), "config"),
    **{name: name for name in ("pretrain", "bench", "report", "import")},
}
"""Verbs that take overrides, and the configuration that these change."""
AFTER_A_FILE = ("report", "import")
"""Verbs whose first argument is a file or folder: the shell completes it."""
SHELLS = {
    "bash": """\
_scaling_exp() {
    local line=${COMP_LINE:0:COMP_POINT} current=${COMP_WORDS[COMP_CWORD]} each IFS=$'\\n'
    [[ $current == [=:] ]] && current=          # bash breaks words there and Hydra does not
    local word=${line##* }
    COMPREPLY=()
    for each in $(scaling-exp completion query "$line" 2>/dev/null); do
        [[ $each == *[=./] ]] || each+=' '
        COMPREPLY+=("${each#"${word%"$current"}"}")
    done
}
complete -o nospace -o default -F _scaling_exp scaling-exp
""",
    "zsh": """\
_scaling_exp() {
    local -a found=("${(@f)$(scaling-exp completion query "${(j: :)words[1,CURRENT-1]} $PREFIX" 2>/dev/null)}")
    compadd -S '' -a found || _files
}
compdef _scaling_exp scaling-exp
""",
}
USAGE = """\
usage: scaling-exp completion bash|zsh

Prints what makes Tab complete verbs and overrides of scaling-exp. For this shell, or in ~/.bashrc or ~/.zshrc:
  eval "$(scaling-exp completion bash)"
  eval "$(scaling-exp completion zsh)"      (after compinit)"""


def candidates(line: str, verbs: Iterable[str]) -> list[str]:
    """What the last word of a line such as `scaling-exp run +exp` could become; empty where the shell knows better."""
    words = line.split()
    typed = words.pop() if not line.endswith(" ") and words else ""
    match words:
        case []:
            return []
        case [_]:
            return [verb for verb in verbs if verb.startswith(typed)]
        case [_, verb, *rest] if verb in COMPOSED:
            return _of_verb(verb, rest, typed)
    return []


def _of_verb(verb: str, rest: list[str], typed: str) -> list[str]:
    """Overrides after the verb and `rest`."""
    if verb == "bench":
        if not rest:
            names = sorted(file.stem for file in (conf_folder() / "bench").glob("*.yaml"))
            return [name for name in names if name.startswith(typed)]
        rest = [f"+bench={rest[0]}", *rest[1:]]
    elif verb in AFTER_A_FILE:
        if not rest:
            return []
        rest = rest[1:]
    return _overrides(COMPOSED[verb], [*rest, typed])


def _overrides(config_name: str, words: list[str]) -> list[str]:
    """What Hydra would accept in place of the last word, after the others."""
    from hydra import initialize_config_dir
    from hydra._internal.core_plugins.bash_completion import BashCompletion
    from hydra.core.global_hydra import GlobalHydra

    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        hydra = BashCompletion(GlobalHydra.instance().config_loader())
        return hydra._query(config_name, " ".join(words))
