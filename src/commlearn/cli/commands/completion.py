"""`commlearn completion`: Tab completion of commands and options."""

from __future__ import annotations

import argparse
import shlex

from commlearn.cli import long_options

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


def run(options: argparse.Namespace) -> None:
    commands = options.command_parsers
    if options.shell == "fish":
        print("\n".join(_fish(commands)))
        return
    if options.shell == "zsh":
        print("autoload -U +X compinit bashcompinit && compinit && bashcompinit")
    cases = "\n".join(
        f'    {name}) options="{" ".join(long_options(command))}" ;;' for name, command in commands.items()
    )
    print(BASH.format(commands=" ".join(commands), cases=cases), end="")


def _fish(commands: dict[str, argparse.ArgumentParser]) -> list[str]:
    lines = []
    for name, command in commands.items():
        about = shlex.quote(command.description or "")
        lines.append(f"complete -c commlearn -n __fish_use_subcommand -f -a {name} -d {about}")
        for action in command._actions:
            about = shlex.quote((action.help or "").replace("%%", "%"))
            condition = f"'__fish_seen_subcommand_from {name}'"
            words = (word[2:] for word in action.option_strings if word.startswith("--"))
            lines += [f"complete -c commlearn -n {condition} -l {word} -d {about}" for word in words]
    return lines
