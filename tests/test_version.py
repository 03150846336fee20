"""The version of the project is the same wherever it is written."""

from pathlib import Path

import yaml

from version import VERSION

ROOT = Path(__file__).resolve().parent.parent


def test_the_citation_has_the_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == VERSION


def test_the_newest_entry_of_the_changelog_is_the_version():
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    headings = [line for line in changelog.splitlines() if line.startswith("## [")]
    newest = next(heading for heading in headings if heading != "## [Unreleased]")
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert newest == f"## [{VERSION}] - {citation['date-released']}"
