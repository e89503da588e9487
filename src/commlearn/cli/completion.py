"""`commlearn completion`: Tab completion of commands and options."""

from __future__ import annotations

import argparse
import shlex

HELP = "Print a script that completes commands and options in bash, zsh or fish."
EXAMPLE = """\
Example:
  source <(commlearn completion bash)                 # add it to ~/.bashrc
  source <(commlearn completion zsh)                  # add it to ~/.zshrc
  commlearn completion fish > ~/.config/fish/completions/commlearn.fish
"""

BASH = """\
_commlearn() {{
  local word="${{COMP_WORDS[COMP_CWORD]}}" options=""
  if [ "$COMP_CWORD" -eq 1 ]; then
    COMPREPLY=($(compgen -W "{commands}" -- "$word"))
    return
  fi
  case "${{COMP_WORDS[1]}}" in
{cases}
  esac
  case "$word" in
    -*) COMPREPLY=($(compgen -W "$options" -- "$word")) ;;
    *) COMPREPLY=($(compgen -f -- "$word")) ;;
  esac
}}
complete -o filenames -F _commlearn commlearn
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", choices=("bash", "zsh", "fish"), help="which shell")


def run(options: argparse.Namespace) -> int:
    commands = commands_of(options.parser)
    if options.shell == "fish":
        print("\n".join(_fish(commands)))
        return 0
    if options.shell == "zsh":
        print("autoload -U +X compinit bashcompinit && compinit && bashcompinit")
    cases = "\n".join(
        f'    {name}) options="{" ".join(long_options(command))}" ;;' for name, command in commands.items()
    )
    print(BASH.format(commands=" ".join(commands), cases=cases), end="")
    return 0


def commands_of(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """Return the parser of each command, by name."""
    subparsers = next(action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    return dict(subparsers.choices)


def long_options(command: argparse.ArgumentParser) -> list[str]:
    """Return the options of a command that begin with two dashes."""
    return [word for action in command._actions for word in action.option_strings if word.startswith("--")]


def _fish(commands: dict[str, argparse.ArgumentParser]) -> list[str]:
    lines = []
    for name, command in commands.items():
        about = shlex.quote(command.description or "")
        lines.append(f"complete -c commlearn -n __fish_use_subcommand -f -a {name} -d {about}")
        for action in command._actions:
            for word in action.option_strings:
                if word.startswith("--"):
                    description = shlex.quote((action.help or "").replace("%%", "%"))
                    condition = f"'__fish_seen_subcommand_from {name}'"
                    lines.append(f"complete -c commlearn -n {condition} -l {word[2:]} -d {description}")
    return lines
