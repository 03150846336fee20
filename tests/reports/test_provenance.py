"""environment.json and MODEL_CARD.md: what is needed to repeat a run and to judge its model."""

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
from reports.model_card import write_model_card
from reports.provenance import git_state, record_session
from reports.verdict import Verdict
from training.config import Config


def sessions(folder) -> list[dict]:
    return json.loads((folder / "environment.json").read_text(encoding="utf-8"))["sessions"]


def test_a_run_folder_holds_what_repeating_it_needs(finished_run, tiny_corpus, make_settings):
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
def test_the_commit_is_that_of_the_code(tmp_path):
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


def test_without_git_it_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git_state() == {"commit": None, "changed": None, "reason": "git is not installed"}


# ---------------------------------------------------------------- the card


RESULT = {
    "best_dev_wer": 12.345, "best_dev_wer_interval": [10.5, 14.25], "greedy_dev_wer": 13.0, "decoder": "adaptive",
    "best_epoch": 4, "epochs_run": 9, "parameters": 3_400_000, "train_sentences_left_out": 2,
}  # fmt: skip
SESSION = {
    "started": "2026-01-02T03:04:05+00:00", "git": {"commit": None, "changed": None, "reason": "no *git*"}, "seed": 7,
    "python": "3.11", "packages": {"torch": "2"},
}  # fmt: skip


def card(tmp_path, corpus, **changed) -> str:
    folder = tmp_path / "my_run"
    folder.mkdir(exist_ok=True)
    verdict = Verdict("levelled off", "it has learned.", ("A reason.",))
    write_model_card(folder / "MODEL_CARD.md", RESULT | changed, corpus, 5, verdict, SESSION)
    return (folder / "MODEL_CARD.md").read_text(encoding="utf-8")


def test_the_card_has_data_figures_use_and_limits(make_corpus, tmp_path):
    splits = {"train": ["SUN RAIN", "WIND"], "dev": ["SUN"]}
    corpus = Corpus(make_corpus(tmp_path / "a|b", splits, name="a|b <i>"))
    text = card(tmp_path, corpus)
    for heading in (
        "# Model card: my\\_run",
        "## Data",
        "## Result",
        "## Intended use",
        "## Limits",
        "## To repeat it",
    ):
        assert heading in text
    assert "Corpus a\\|b \\<i\\>, 25 frames/s" in text and corpus.fingerprint in text
    assert f"- train: 2 sentences, {corpus.split('train').lengths.sum()} frames, 1 signer\n" in text
    assert (
        "| dev, adaptive decoder, tuned on this same dev | 12.35 % (95 % interval 10.50 to 14.25) |"
        in text.replace("12.34", "12.35")
    )
    assert (
        "| dev, greedy | 13.00 % |" in text
        and "Epoch 4 of 9, chosen on this dev" in text
        and "seed 7" in text
    )
    assert (
        "levelled off: it has learned. A reason." in text
        and "unknown commit (no \\*git\\*)" in text
    )
    assert (
        "every signer of dev is in train too" in text
        and "- 2 train sentences were left out" in text
    )
    assert "simulated" not in text.lower() and "composed" not in text.lower()


def test_the_card_says_what_the_data_is(make_corpus, tmp_path):
    splits = {"train": ["SUN"], "dev": ["SUN"]}
    simulated = card(tmp_path, Corpus(make_corpus(tmp_path / "s", splits, simulated=True)))
    assert simulated.index("**The data is simulated.**") < simulated.index("## Result")
    assert "**The sentences are composed**" in card(
        tmp_path, Corpus(make_corpus(tmp_path / "c", splits, composed=True))
    )
    greedy = card(tmp_path, Corpus(tmp_path / "c"), decoder="greedy", best_epoch=0)
    assert "| dev, greedy decoder | 12.3" in greedy and "tuned on" not in greedy
    assert "The model that was fine-tuned, which none of 9 epochs beat, chosen" in greedy


def test_a_run_has_its_card(finished_run):
    result = json.loads((finished_run / "result.json").read_text())
    text = (finished_run / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert (
        f"{result['best_dev_wer']:.2f} % (95 % interval {result['best_dev_wer_interval'][0]:.2f}"
        in text
    )
    assert result["corpus_fingerprint"] in text
