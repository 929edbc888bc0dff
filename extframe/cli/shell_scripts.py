"""Completion scripts: click's, except that bash receives words that are quoted. Knows no command."""

from __future__ import annotations

from typing import TYPE_CHECKING

from click.shell_completion import BashComplete, FishComplete, ShellComplete, ZshComplete, add_completion_class

if TYPE_CHECKING:
    import click

# click's script inserts words as they are, so that completing a plugin named `$(cmd)` makes the shell run cmd.
# zsh's compadd and fish's complete quote the words themselves.
_BASH = """\
%(complete_func)s() {
    local response type value quoted
    response=$(IFS=$'\\n' env COMP_WORDS="$(IFS=$'\\n'; echo "${COMP_WORDS[*]}")" COMP_CWORD="$COMP_CWORD" \\
        %(complete_var)s=bash_complete "$1")
    COMPREPLY=()
    while IFS=, read -r type value; do
        case $type in
            dir) compopt -o dirnames ;;
            file) compopt -o default ;;
            plain)
                printf -v quoted %%q "$value"
                COMPREPLY+=("$quoted")
                ;;
        esac
    done <<<"$response"
}

complete -o nosort -F %(complete_func)s %(prog_name)s
"""


class QuotingBashComplete(BashComplete):
    """Completion for bash with quoted words."""

    source_template = _BASH


def register() -> None:
    """Make click use this module's completion for bash, in this process."""
    add_completion_class(QuotingBashComplete)


_SHELLS: dict[str, type[ShellComplete]] = {"bash": QuotingBashComplete, "zsh": ZshComplete, "fish": FishComplete}


def completion_script(shell: str, program: click.Command) -> str:
    """Return the script that completes the command lines of ``program`` in a shell."""
    return _SHELLS[shell](program, {}, "extframe", "_EXTFRAME_COMPLETE").source()
