"""``extframe completion``: print the script that completes command lines in a shell."""

from __future__ import annotations

import click

from .output import write_text

EPILOG = """\b
Examples:
  eval "$(extframe completion bash)"                              # in ~/.bashrc
  eval "$(extframe completion zsh)"                               # in ~/.zshrc, after compinit
  extframe completion fish > ~/.config/fish/completions/extframe.fish
"""


@click.command(epilog=EPILOG)
@click.argument("shell", metavar="SHELL", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the completion script for SHELL: bash, zsh or fish.

    It completes commands, options, the names of plugins, and their methods.
    """
    from .shell_scripts import completion_script

    write_text(completion_script(shell, ctx.find_root().command))
