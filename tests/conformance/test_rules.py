"""Every rule is documented and checked, and verdicts are ordered."""

from __future__ import annotations

from pathlib import Path

from extframe.conformance import RULES, Verdict, run


def test_every_rule_has_a_line_of_documentation():
    page = (Path(__file__).parents[2] / "docs" / "check.md").read_text()
    assert [name for name, rule in RULES.items() if f"| {rule.text} | {rule.source} |" not in page] == []


def test_every_rule_is_used():
    package = Path(run.__file__).parent
    code = "".join(path.read_text() for path in package.glob("*.py") if path.name != "rules.py")
    assert [name for name in RULES if f'"{name}"' not in code] == []


def test_verdicts_are_ordered_by_their_severity():
    order = sorted(Verdict, key=lambda verdict: verdict.severity)
    assert order == [Verdict.PASS, Verdict.SKIP, Verdict.NOTE, Verdict.WARN, Verdict.FAIL]
