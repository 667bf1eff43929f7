"""The commands of the contract, one file each.

A new command is one new file here, with a `Command` and a `CommandMethods`; `make generate` finds it and writes the
registry and the blocking twin.
"""

from ._base import Command, CommandBuilder, CommandMethods
from ._registry import COMMANDS

__all__ = ["COMMANDS", "Command", "CommandBuilder", "CommandMethods"]
