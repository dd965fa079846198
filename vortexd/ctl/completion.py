"""Print a script that completes the commands and options of vortexctl in a shell.

It turns the parser of the whole command line into a script for bash, zsh or fish. Invariant: the script contains exactly the parser's commands
and options, so it always matches the program that printed it.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import attrs

_FILES = {"FILE", "DIR", "DIR|REPO"}


@attrs.frozen
class Option:
    """An option, or a positional argument.

    Attributes:
        names: The names with their hyphens. Empty for a positional argument.
        takes: The placeholder of its value in the help; "" if it takes no value.
        choices: The possible values, if they are known.
        is_file: Whether the value is the path of a file or directory.
        text: The help text.
    """

    names: tuple[str, ...]
    takes: str
    choices: tuple[str, ...]
    is_file: bool
    text: str


@attrs.frozen
class Command:
    """A command, or the whole command line.

    Attributes:
        path: The words that lead to the command, each preceded by a space.
    """

    path: str
    text: str
    options: tuple[Option, ...]
    arguments: tuple[Option, ...]
    commands: "tuple[Command, ...]"

    def all(self) -> "Iterator[Command]":
        """Yield this command and every command below it."""
        yield self
        for each in self.commands:
            yield from each.all()

    @property
    def name(self) -> str:
        """The last word of the path."""
        return self.path.rpartition(" ")[2]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command; see `cli.COMMANDS`."""
    parser.add_argument("shell", metavar="SHELL", choices=SHELLS, help=", ".join(SHELLS))


def run(arguments: argparse.Namespace) -> int:
    """Print the script."""
    from .cli import parser

    sys.stdout.write(SHELLS[arguments.shell](command_of(parser())))
    return 0


def command_of(parser: argparse.ArgumentParser, path: str = "", text: str = "") -> Command:
    """Read the commands and options from a parser."""
    options: list[Option] = []
    arguments: list[Option] = []
    commands: list[Command] = []
    # argparse has no public way to list its arguments.
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            texts = {each.dest: each.help or "" for each in action._choices_actions}
            commands += [
                command_of(each, f"{path} {name}", texts.get(name, "")) for name, each in action.choices.items()
            ]
        elif action.help is not argparse.SUPPRESS:
            (options if action.option_strings else arguments).append(_option(action))
    return Command(path, text, tuple(options), tuple(arguments), tuple(commands))


def _option(action: argparse.Action) -> Option:
    takes = "" if action.nargs == 0 else str(action.metavar or action.dest.upper())
    choices = tuple(map(str, action.choices)) if action.choices is not None else ()
    is_file = bool(takes) and (action.type is Path or takes in _FILES)
    return Option(tuple(action.option_strings), takes, choices, is_file, action.help or "")


# bash.


def bash(whole: Command) -> str:
    """The script for bash."""
    values = [
        f"        {'|'.join(_quoted(f'{command.path}:{name}') for name in option.names)}) {_bash_value(option)} ;;"
        for command in whole.all()
        for option in command.options
        if option.takes
    ]
    words = [f"        {_quoted(command.path)}) {_bash_words(command)} ;;" for command in whole.all()]
    return _BASH.format(paths=_paths(whole, "|"), values="\n".join(values), words="\n".join(words))


def _bash_value(option: Option) -> str:
    if option.choices:
        return f"words={_quoted(' '.join(option.choices))}"
    return "files=yes" if option.is_file else "return"


def _bash_words(command: Command) -> str:
    names = [name for option in command.options for name in option.names]
    words = [each.name for each in command.commands] + [each for one in command.arguments for each in one.choices]
    files = " files=yes" if any(each.is_file for each in command.arguments) else ""
    return f"words={_quoted(' '.join(words))} options={_quoted(' '.join(names))}{files}"


_BASH = """\
# bash completion of vortexctl; printed by: vortexctl completion bash
_vortexctl() {{
    local current=${{COMP_WORDS[COMP_CWORD]}} before=${{COMP_WORDS[COMP_CWORD - 1]}} at= words= options= files= index
    local IFS=$' \\t\\n'
    # bash splits `--option=value` into three words.
    [[ $current == = ]] && current=
    [[ $before == = ]] && before=${{COMP_WORDS[COMP_CWORD - 2]}}
    for ((index = 1; index < COMP_CWORD; index++)); do
        case "$at ${{COMP_WORDS[index]}}" in
            {paths}) at="$at ${{COMP_WORDS[index]}}" ;;
        esac
    done
    COMPREPLY=()
    case "$at:$before" in
{values}
        *)
            case "$at" in
{words}
            esac
            [[ $current == -* || -z $words$files ]] && words=$options files=
            ;;
    esac
    COMPREPLY=($(compgen -W "$words" -- "$current"))
    if [[ $files ]]; then
        IFS=$'\\n'
        COMPREPLY+=($(compgen -f -- "$current"))
        compopt -o filenames 2>/dev/null
    fi
}}
complete -F _vortexctl vortexctl
"""


# zsh.


def zsh(whole: Command) -> str:
    """The script for zsh."""
    cases = [f"        {_quoted(command.path)})\n{_zsh_case(command)}            ;;" for command in whole.all()]
    return _ZSH.format(paths=_paths(whole, "|"), cases="\n".join(cases))


def _zsh_case(command: Command) -> str:
    specs = [spec for option in command.options for spec in _zsh_options(option)]
    specs += [f"*:{_zsh_text(each.takes)}:{_zsh_action(each)}" for each in command.arguments[:1]]
    if command.commands:
        specs.append("1:command:->command")
    lines = [f"            _arguments -S {' '.join(map(_quoted, specs))} && return\n"]
    if command.commands:
        named = " ".join(_quoted(f"{each.name}:{each.text}") for each in command.commands)
        lines += [f"            commands=({named})\n", "            _describe command commands\n"]
    return "".join(lines)


def _zsh_options(option: Option) -> Iterator[str]:
    value = f":{_zsh_text(option.takes)}:{_zsh_action(option)}" if option.takes else ""
    for name in option.names:
        # Any option may be completed again; the parser refuses a repetition that it doesn't allow.
        yield f"*{name}[{_zsh_text(option.text)}]{value}"


def _zsh_action(option: Option) -> str:
    return f"({' '.join(option.choices)})" if option.choices else "_files" if option.is_file else " "


def _zsh_text(text: str) -> str:
    return "".join("\\" + each if each in "\\[]:" else each for each in text)


_ZSH = """\
#compdef vortexctl
# zsh completion of vortexctl; printed by: vortexctl completion zsh
_vortexctl() {{
    local at= index depth=0
    local -a commands
    for ((index = 2; index < CURRENT; index++)); do
        case "$at ${{words[index]}}" in
            ({paths})
                at="$at ${{words[index]}}"
                depth=$((index - 1))
                ;;
        esac
    done
    words=("${{(@)words[depth + 1,-1]}}")
    CURRENT=$((CURRENT - depth))
    case "$at" in
{cases}
    esac
}}
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    _vortexctl "$@"
else
    compdef _vortexctl vortexctl
fi
"""


# fish.


def fish(whole: Command) -> str:
    """The script for fish."""
    lines = [line for command in whole.all() for line in _fish_lines(command)]
    return _FISH.format(paths=_paths(whole, " "), lines="\n".join(lines))


def _fish_lines(command: Command) -> Iterator[str]:
    head = f"complete -c vortexctl -n '__vortexctl_is_at {_fish_quoted(command.path)}'"
    for each in command.commands:
        yield f"{head} -a {_fish_text(each.name)} -d {_fish_text(each.text)}"
    for argument in command.arguments:
        if argument.choices:
            yield f"{head} -a {_fish_text(' '.join(argument.choices))} -d {_fish_text(argument.takes)}"
        elif argument.is_file:
            yield f"{head} -F"
    for option in command.options:
        names = " ".join(f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}" for name in option.names)
        value = "" if not option.takes else " -r -F" if option.is_file else " -x"
        value += f" -a {_fish_text(' '.join(option.choices))}" if option.choices else ""
        yield f"{head} {names}{value} -d {_fish_text(option.text)}"


def _fish_text(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _fish_quoted(text: str) -> str:
    # The text is inside single quotes already.
    return f'"{text}"'


_FISH = """\
# fish completion of vortexctl; printed by: vortexctl completion fish
function __vortexctl_is_at
    set -l at ''
    for word in (commandline -opc)[2..-1]
        if contains -- "$at $word" {paths}
            set at "$at $word"
        end
    end
    test "$at" = "$argv[1]"
end
complete -c vortexctl -f
{lines}
"""


def _paths(whole: Command, separator: str) -> str:
    return separator.join(_quoted(each.path) for each in whole.all() if each.path)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


SHELLS = {"bash": bash, "zsh": zsh, "fish": fish}
