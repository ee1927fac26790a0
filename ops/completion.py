"""``studysmart completion``: prints a script with which a shell completes commands, actions and options."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator

_BASH = """\
_studysmart() {{
    local path="" word
    for word in "${{COMP_WORDS[@]:1:COMP_CWORD-1}}"; do
        case "$path $word" in
{paths}
        esac
    done
    local words=""
    case "$path" in
{words}
    esac
    COMPREPLY=($(compgen -W "$words" -- "${{COMP_WORDS[COMP_CWORD]}}"))
}}
complete -o default -F _studysmart studysmart
"""

SHELLS = {"bash": _BASH, "zsh": "autoload -Uz bashcompinit && bashcompinit\n" + _BASH}


def add_arguments(parser: argparse.ArgumentParser, root: Callable[[], argparse.ArgumentParser]) -> None:
    """Add the arguments of the command. ``root`` gives the parser whose words are completed."""
    parser.add_argument("shell", choices=sorted(SHELLS), help="the shell that reads the script")
    parser.set_defaults(root=root)


def run(options: argparse.Namespace) -> int:
    """Print the script of a shell."""
    print(script(options.shell, options.root()), end="")
    return 0


def script(shell: str, parser: argparse.ArgumentParser) -> str:
    """Return the script with which a shell completes the words of a parser."""
    known = dict(_commands(parser))
    paths = "\n".join(f'            "{path}") path="{path}" ;;' for path in known if path)
    words = "\n".join(f'        "{path}") words="{" ".join(found)}" ;;' for path, found in known.items())
    return SHELLS[shell].format(paths=paths, words=words)


def _commands(parser: argparse.ArgumentParser, path: str = "") -> Iterator[tuple[str, list[str]]]:
    """Give each command with the words that may follow it. A path is empty or begins with a space."""
    options = [option for action in parser._actions for option in action.option_strings if option.startswith("--")]
    nested = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    names = [name for action in nested for name in action.choices]
    choices = [
        str(one)
        for action in parser._actions
        if not action.option_strings and action not in nested
        for one in action.choices or ()
    ]
    yield path, [*names, *choices, *options]
    for action in nested:
        for name, sub in action.choices.items():
            yield from _commands(sub, f"{path} {name}")
