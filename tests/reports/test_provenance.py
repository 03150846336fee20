"""environment.json: what is needed to repeat a run."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from importlib import metadata

import pytest
import yaml

from data.corpus import Corpus
from reports.provenance import git_state, record_session
from training.config import Config


def sessions(folder) -> list[dict]:
    return json.loads((folder / "environment.json").read_text(encoding="utf-8"))["sessions"]


def test_a_run_folder_has_what_is_needed_to_repeat_the_run(
    finished_run, tiny_corpus, make_settings
):
    (session,) = sessions(finished_run)
    corpus = Corpus(tiny_corpus)
    assert session["corpus"]["sha256_of_corpus_json"] == corpus.fingerprint and session["seed"] == 0
    assert (
        session["packages"]["torch"] == metadata.version("torch") and session["precision"] == "fp32"
    )
    assert (
        session["command"] == shlex.join(sys.orig_argv)
        and session["start"] == "fresh (no --resume)"
    )
    assert set(session["git"]) >= {"commit", "changed"}
    config = yaml.safe_load((finished_run / "config.yaml").read_text())
    assert Config().updated(config) == Config().updated(make_settings(finished_run))


def test_continuing_adds_a_session_and_an_evaluation_names_the_checkpoint(execute_run, run_copy):
    first = sessions(run_copy)
    execute_run({"training": {"output_dir": str(run_copy)}}, "auto")
    assert sessions(run_copy)[:-1] == first
    assert sessions(run_copy)[-1]["start"].startswith(f"continue from {run_copy / 'last.pth'} (")


@pytest.mark.parametrize("content", ["{", '{"sessions": 3}', "[]", '{"other": 1}'])
def test_a_broken_environment_json_does_not_stop_a_run(tmp_path, content):
    (tmp_path / "environment.json").write_text(content)
    record_session(tmp_path, {"seed": 1})
    assert sessions(tmp_path) == [{"seed": 1}]


@pytest.mark.skipif(shutil.which("git") is None, reason="no git on this machine")
def test_the_commit_is_the_commit_of_the_code(tmp_path):
    def git(*arguments):
        identity = ("-c", "user.name=x", "-c", "user.email=x@y")
        subprocess.run(
            ["git", "-C", str(tmp_path), *identity, *arguments], check=True, capture_output=True
        )

    code = tmp_path / "reports" / "provenance.py"
    code.parent.mkdir()
    code.write_text("1")
    none = git_state(tmp_path)
    assert none["commit"] is None and "not a git repository" in none["reason"]
    git("init")
    git("commit", "--allow-empty", "-m", "someone else's repository")
    assert git_state(tmp_path)["reason"] == "the git repository around the code does not track it"
    git("add", "reports")
    git("commit", "-m", "the code")
    state = git_state(tmp_path)
    assert re.fullmatch("[0-9a-f]{40}", state["commit"]) and state["changed"] is False
    code.write_text("2")
    assert git_state(tmp_path) == {"commit": state["commit"], "changed": True}


def test_without_git_the_commit_is_unknown(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git_state() == {"commit": None, "changed": None, "reason": "git is not installed"}
