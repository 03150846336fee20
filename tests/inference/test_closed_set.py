"""--decoder closed in evaluate.py and transcribe.py: its list, its results, and its limits."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import evaluate
import transcribe
from data.corpus import Corpus
from data.vocabulary import Vocabulary
from decoding.closed_set import ClosedSet, make_closed_set
from errors import DataError, UsageError
from inference.model_on_corpus import open_model_on_corpus
from inference.recognizer import open_recognizer
from inference.recording_transcription import transcribe_recording
from inference.windows import Windows
from models.checkpoint import load_checkpoint, save_checkpoint


@pytest.fixture(scope="module")
def evaluated(run_evaluate, checkpoint, tmp_path_factory) -> tuple[dict, Path]:
    """result.json and folder of a closed-set evaluation with the train sentences."""
    folder = tmp_path_factory.mktemp("closed") / "evaluation"
    return run_evaluate(checkpoint, folder, "--decoder", "closed"), folder


def ctc_log_probability(log_probs: torch.Tensor, classes: list[int]) -> float:
    """log P of a sentence by torch's CTC loss."""
    loss = torch.nn.functional.ctc_loss(
        log_probs.double()[:, None],
        torch.tensor([classes]),
        torch.tensor([len(log_probs)]),
        torch.tensor([len(classes)]),
        reduction="none",
    )
    return -float(loss)


def rows_of(folder: Path) -> list[list[str]]:
    """Reference and hypothesis of each sentence."""
    lines = (folder / "hypotheses.csv").read_text(encoding="utf-8").splitlines()[1:]
    return [line.split("|")[2:] for line in lines]


@pytest.fixture
def phrases(tmp_path) -> Path:
    path = tmp_path / "phrases.txt"
    path.write_text("SUN RAIN\nWIND\n\nFOG SUN\nHOUSE HOUSE\n", encoding="utf-8")
    return path


def without_its_corpus(checkpoint: Path, folder: Path) -> Path:
    """A copy of a checkpoint whose corpus is not here."""
    content = load_checkpoint(checkpoint)
    content["corpus"]["path"] = str(folder / "gone")
    save_checkpoint(folder / "moved.pth", content)
    return folder / "moved.pth"


# ----------------------------------------------------------------------------------- evaluate.py


def test_every_hypothesis_is_the_most_probable_train_sentence(evaluated, checkpoint, tiny_corpus):
    result, folder = evaluated
    model = open_model_on_corpus(checkpoint, None, "cpu")
    sentences = [sentence.glosses for sentence in Corpus(tiny_corpus).split("train").sentences]
    sentences = list(dict.fromkeys(sentences))
    classes = [model.vocabulary.encode(sentence) for sentence in sentences]
    best = {}
    for index, rows in model.posteriors("dev"):
        scores = [ctc_log_probability(rows, one) for one in classes]
        best[index] = " ".join(sentences[int(np.argmax(scores))])
    assert [hypothesis for _, hypothesis in rows_of(folder)] == [
        best[index] for index in range(len(best))
    ]
    count = len(sentences)
    assert result["decoder_settings"] == f"closed set, {count} sentences of train of tiny"
    assert result["closed_set"]["list_sentences"] == count


def test_the_rate_is_reported_apart_from_an_open_vocabulary_wer(
    evaluated, run_evaluate, checkpoint, tmp_path
):
    result, _ = evaluated
    assert "wer" not in result, "no program takes it for an open-vocabulary WER"
    greedy = run_evaluate(checkpoint, tmp_path / "greedy", "--decoder", "greedy")
    assert result["open_vocabulary"]["decoder"] == "greedy"
    for name in ("wer", "wer_interval", "substitutions", "deletions", "insertions"):
        assert result["open_vocabulary"][name] == greedy[name]
    closed = result["closed_set"]
    assert {*greedy} - {*result} <= {*closed}, "the same figures as of other decoders"
    low, high = closed["wer_interval"]
    assert low <= closed["wer"] <= high


def test_counts_of_the_list(evaluated, tiny_corpus):
    closed, rows = evaluated[0]["closed_set"], rows_of(evaluated[1])
    train = {sentence.glosses for sentence in Corpus(tiny_corpus).split("train").sentences}
    assert closed["references_in_list"] == sum(tuple(one.split()) in train for one, _ in rows)
    assert closed["sentences_right"] == sum(one == other for one, other in rows)


@pytest.mark.figures
def test_the_report_says_what_it_is(run_evaluate, checkpoint, tmp_path, capsys):
    result = run_evaluate(checkpoint, tmp_path / "out", "--decoder", "closed")
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    closed = result["closed_set"]
    for words in (
        "<h1>Closed-set evaluation: Evaluation of adaptive/best_model.pth</h1>",
        f"<b>Closed set.</b> The decoder chose among {closed['list_sentences']} sentences "
        "(train of tiny).",
        "Do not compare this WER with an open-vocabulary WER.",
        "closed-set word error rate, 95 % interval",
        "Closed set: WER",
        "Only closed is bound to the list.",
    ):
        assert words in page
    assert "<span>word error rate" not in page and "(target: below" not in page
    printed = capsys.readouterr().out
    assert f": closed-set WER {closed['wer']:.2f} %" in printed
    assert f"open vocabulary (greedy): WER {result['open_vocabulary']['wer']:.2f} %" in printed


def test_a_list_from_a_text_file(run_evaluate, checkpoint, phrases, tmp_path, capsys):
    options = ("--decoder", "closed", "--closed_set", phrases)
    closed = run_evaluate(checkpoint, tmp_path / "out", *options)["closed_set"]
    assert (closed["list"], closed["list_sentences"]) == ("phrases.txt", 3)
    assert closed["list_sentences_left_out"] == 1
    assert {hypothesis for _, hypothesis in rows_of(tmp_path / "out")} <= {
        "SUN RAIN",
        "WIND",
        "HOUSE HOUSE",
    }
    assert "closed set: 1 of 4 sentences have glosses outside" in capsys.readouterr().out


def test_each_list_has_a_folder_of_its_own(run_main, checkpoint, phrases, tmp_path):
    best = Path(shutil.copy(checkpoint, tmp_path))
    base = ("--checkpoint", best, "--device", "cpu", "--decoder", "closed")
    for words in ((), ("--closed_set", phrases)):
        assert run_main(evaluate.main, *base, *words).returncode == 0
    again = run_main(evaluate.main, *base, "--closed_set", "train")
    assert again.returncode == 2 and "already exists" in again.stderr
    assert {path.name for path in tmp_path.glob("evaluation*")} == {
        "evaluation_dev_closed",
        "evaluation_dev_closed_phrases",
    }


def test_what_makes_no_sense_is_one_line(run_main, checkpoint, make_corpus, tmp_path):
    no_train = make_corpus(tmp_path / "no_train", {"dev": ["SUN"]})
    (tmp_path / "fog.txt").write_text("FOG\nICE FOG\n")
    (tmp_path / "empty.txt").write_text("\n \n")
    base = ("--checkpoint", checkpoint, "--device", "cpu", "--output_dir", tmp_path / "out")
    closed = ("--decoder", "closed")
    for words, code, message in (
        (("--closed_set", "x.txt"), 2, "--closed_set has no effect on --decoder adaptive: give"),
        ((*closed, "--lm", "train"), 2, "--lm has no effect on --decoder closed"),
        (
            (*closed, "--closed_set", tmp_path / "x.txt"),
            3,
            "x.txt cannot be read: No such file or directory: expected a text file",
        ),
        ((*closed, "--closed_set", tmp_path / "fog.txt"), 3, "fog.txt: all 2 sentences"),
        ((*closed, "--closed_set", tmp_path / "empty.txt"), 3, "empty.txt has no sentence"),
        ((*closed, "--data_dir", no_train), 3, "has no train sentences for --decoder closed: give"),
    ):
        ended = run_main(evaluate.main, *base, *words)
        assert ended.returncode == code and message in ended.stderr, ended.stderr
        assert ended.stderr.count("\n") == 1 and ended.stderr.startswith("error: ")
    assert not (tmp_path / "out").exists()


def test_hypotheses_and_list_are_cleaned_up_alike(
    run_evaluate, checkpoint, tiny_corpus, phrases, tmp_path
):
    content = load_checkpoint(checkpoint)
    content["vocabulary"] = [f"loc-{gloss}" for gloss in content["vocabulary"]]
    save_checkpoint(tmp_path / "best_model.pth", content)
    references = [" ".join(s.glosses) for s in Corpus(tiny_corpus).split("dev").sentences]
    lines = [" ".join(f"loc-{gloss}" for gloss in one.split()) for one in references]
    phrases.write_text("\n".join(lines))
    options = ("--decoder", "closed", "--closed_set", phrases, "--scoring")
    for scoring, count in (("plain", 0), ("phoenix2014", len(references))):
        found = run_evaluate(tmp_path / "best_model.pth", tmp_path / scoring, *options, scoring)
        assert found["closed_set"]["references_in_list"] == count


# --------------------------------------------------------------------------------- transcribe.py


def test_a_recording_gets_the_sentence_of_its_evaluation(
    run_transcribe, checkpoint, sentences, evaluated, capsys
):
    for words in ((), ("--closed_set", "train")):
        options = ("--decoder", "closed", *words, "--format", "json")
        assert run_transcribe(checkpoint, sentences, *options) == 0
        found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        texts = [" ".join(gloss["gloss"] for gloss in one["glosses"]) for one in found]
        assert texts == [hypothesis for _, hypothesis in rows_of(evaluated[1])]
        assert all(one["decoder"].startswith("closed set, ") for one in found)


def test_a_model_without_its_corpus_needs_a_list(
    run_transcribe, checkpoint, exported, sentences, phrases, tmp_path, capsys
):
    for model, error, reason in (
        (without_its_corpus(checkpoint, tmp_path), DataError, r"corpus .* is not here"),
        (exported("student"), UsageError, r"is an exported file, which does not have the sent"),
    ):
        with pytest.raises(error, match=reason + r".*: give a text file .*--closed_set"):
            run_transcribe(model, sentences, "--decoder", "closed")
        options = ("--decoder", "closed", "--closed_set", phrases)
        assert run_transcribe(model, sentences / "dev-00.npy", *options) == 0
        printed = capsys.readouterr()
        assert "decoder: closed set, 3 sentences of phrases.txt" in printed.err
        assert "closed set: 1 of 4 sentences have glosses outside" in printed.err


def test_online_transcription_is_refused(run_main, checkpoint, sentences):
    base = ("--checkpoint", checkpoint, "--decoder", "closed")
    for words, option in (
        (("--camera", 0), "--camera"),
        ((sentences, "--online"), "--online or --whole 0"),
        ((sentences, "--whole", 0), "--online or --whole 0"),
    ):
        ended = run_main(transcribe.main, *base, *words)
        assert ended.returncode == 2 and ended.stderr.count("\n") == 1
        assert f"{option}: --decoder closed chooses one sentence for a whole" in ended.stderr
    ended = run_main(transcribe.main, sentences, "--checkpoint", checkpoint, "--closed_set", "x")
    assert ended.returncode == 2 and "no effect without --decoder closed" in ended.stderr


def test_a_recording_that_is_too_long_for_one_sentence_is_refused(
    run_main, checkpoint, sentences, tmp_path
):
    landmarks = np.load(sentences / "dev-00.npy")
    np.save(tmp_path / "long.npy", np.concatenate([landmarks] * 12))
    shutil.copy(sentences / "dev-00.npy", tmp_path / "short.npy")
    words = (tmp_path, "--checkpoint", checkpoint, "--device", "cpu", "--decoder", "closed")
    ended = run_main(transcribe.main, *words, "--whole", 9)
    assert ended.returncode == 3 and "1 of 2 recordings failed" in ended.stderr
    (failed,) = [line for line in ended.stderr.splitlines() if line.startswith("failed: ")]
    assert "long.npy: the recording is longer than 9 s, and --decoder closed" in failed
    assert "give a longer --whole" in failed
    assert run_main(transcribe.main, *words, "--whole", 60).returncode == 0


def test_other_decoders_still_use_windows(toy):
    classes = toy.signing("-AB-CCA-B" * 3)
    windows = Windows(length=4.0, overlap=3.0, lookahead=0.5)
    closed = replace(toy.recognizer, decoder=ClosedSet(((1, 2),), "test").decode, whole_only=True)
    with pytest.raises(DataError, match="longer than 4 s"):
        transcribe_recording(toy.recording(classes), closed, windows)
    assert toy.transcribe(classes, windows)[1].method == "in windows"


def test_a_causal_student_does_not_stream_with_a_closed_set(checkpoints):
    found = open_recognizer(checkpoints["causal"], "closed", "cpu")
    assert found.streaming_student is None and found.whole_only
    assert "the closed decoder needs the whole" in found.streaming_obstacle


def test_a_vocabulary_of_an_older_checkpoint_in_another_unicode_form():
    """A list in one form finds the glosses in the other."""
    vocabulary = Vocabulary(["U\u0308BER", "A"])
    assert make_closed_set([["\u00dcBER"]], vocabulary, "list").sentences == ((1,),)


# ------------------------------------------------------------------------ known and new sentences


def test_an_evaluation_compares_with_the_train_split_of_the_checkpoint(
    run_evaluate, checkpoint, make_corpus, tiny_corpus, tmp_path, capsys
):
    train = [" ".join(s.glosses) for s in Corpus(tiny_corpus).split("train").sentences]
    other = make_corpus(
        tmp_path / "other", {"train": ["SUN"], "dev": [train[0], train[1], "SUN SUN SUN SUN SUN"]}
    )
    options = ("--decoder", "greedy", "--data_dir", other)
    novelty = run_evaluate(checkpoint, tmp_path / "out", *options)["novelty"]
    assert (novelty["train"], novelty["train_sentences"]) == ("tiny", len(set(train)))
    assert {name: group["sentences"] for name, group in novelty["sentences"].items()} == {
        "known": 2,
        "new": 1,
        "new_known_pairs": int("SUN SUN" in " ".join(train)),
        "new_new_pairs": int("SUN SUN" not in " ".join(train)),
    }
    assert "  known sentences: " in capsys.readouterr().out


def test_without_the_train_split_of_the_checkpoint_nothing_is_claimed(
    run_evaluate, checkpoint, make_corpus, tmp_path, capsys
):
    other = make_corpus(tmp_path / "other", {"train": ["SUN"], "dev": ["SUN RAIN"]})
    moved = without_its_corpus(checkpoint, tmp_path)
    options = ("--decoder", "greedy", "--data_dir", other)
    assert run_evaluate(moved, tmp_path / "out", *options)["novelty"] is None
    printed = capsys.readouterr().out
    assert "note: known and new sentences are not told apart, because the corpus tiny" in printed
    assert "known sentences:" not in printed
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "Known and new" not in page


def test_the_corpus_of_the_training_may_be_elsewhere(
    run_evaluate, checkpoint, tiny_corpus, tmp_path
):
    moved = without_its_corpus(checkpoint, tmp_path)
    copy = shutil.copytree(tiny_corpus, tmp_path / "copy")
    options = ("--decoder", "greedy", "--data_dir", copy)
    assert run_evaluate(moved, tmp_path / "out", *options)["novelty"]["train"] == "tiny"
