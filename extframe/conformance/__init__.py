"""Check any plugin, in whatever language, against the protocol's rules. Prints nothing, and loads no handler."""

from .rules import RULES, Result, Rule, Verdict
from .run import check_plugin
from .trial import Trial

__all__ = ["RULES", "Result", "Rule", "Trial", "Verdict", "check_plugin"]
