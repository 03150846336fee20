import json
import shutil
from pathlib import Path

import pytest
import torch

import evaluate
from data.corpus import Corpus
from data.pipeline import FeaturePipeline
from data.vocabulary import Vocabulary
from decoding.language_model import train_language_model, write_arpa
from decoding.length_normalization import LengthNormalization
from errors import DataError, UsageError
from inference.evaluation import clean_hypothesis
from inference.posteriors import compute_posteriors
from models.build import load_model
from models.checkpoint import load_checkpoint, save_checkpoint
from models.devices import Precision
from training.config import Config

FILES = {"hypotheses.csv", "sentences.csv", "hypotheses.ctm", "references.stm", "result.json"}
PAPERS = {"report.html", "environment.json"}


def judge(checkpoint: Path, output: Path, *options) -> dict:
    argv = ["--checkpoint", checkpoint, "--output_dir", output, "--device", "cpu", *options]
    assert evaluate.main([str(word) for word in argv]) == 0
    return json.loads((output / "result.json").read_text())


@pytest.fixture(scope="module")
def adaptive_run(make_settings, execute_run, tmp_path_factory) -> Path:
    """A run whose adaptive decoder was tuned on dev. Read it only."""
    folder = tmp_path_factory.mktemp("evaluate") / "adaptive"
    execute_run(make_settings(folder, decoder="adaptive", epochs=6))
    return folder


def test_greedy_gives_the_runs_own_rate_and_all_files(finished_run, tmp_path, capsys):
    result = judge(finished_run / "best_model.pth", tmp_path / "out", "--decoder", "greedy")
    of_run = json.loads((finished_run / "result.json").read_text())
    assert result["wer"] == pytest.approx(of_run["greedy_dev_wer"])
    assert {path.name for path in (tmp_path / "out").iterdir()} == FILES | PAPERS
    assert (tmp_path / "out" / "hypotheses.csv").read_text() == (
        finished_run / "dev_hypotheses.csv"
    ).read_text()
    assert (result["split"], result["decoder"], result["scoring"], result["sentences"]) == (
        "dev",
        "greedy",
        "plain",
        4,
    )
    assert result["by_signer"] == {
        "anna": {key: result[key] for key in result["by_signer"]["anna"]}
    }
    low, high = result["wer_interval"]
    assert low <= result["wer"] <= high
    out = capsys.readouterr().out
    assert "decoder: greedy" in out and f"WER {result['wer']:.2f} %" in out


def test_times_are_inside_the_sentence_and_in_order(adaptive_run, tiny_corpus, tmp_path):
    judge(adaptive_run / "best_model.pth", tmp_path / "out")
    seconds = {s.id: -(-s.frames // 4) * 4 / 25 for s in Corpus(tiny_corpus).split("dev").sentences}
    rows = [line.split() for line in (tmp_path / "out" / "hypotheses.ctm").read_text().splitlines()]
    ends = dict.fromkeys(seconds, 0.0)
    for id, _, begin, duration, gloss in rows:
        if gloss != "@":
            assert ends[id] - 1e-6 <= float(begin) and float(duration) >= 4 / 25 - 1e-6
            ends[id] = float(begin) + float(duration)
            assert ends[id] <= seconds[id] + 1e-6
    hypotheses = [
        line.split("|")
        for line in (tmp_path / "out" / "hypotheses.csv").read_text().splitlines()[1:]
    ]
    assert [gloss for *_, gloss in rows if gloss != "@"] == " ".join(
        row[3] for row in sorted(hypotheses)
    ).split()
    assert any(row[3] for row in hypotheses)
    references = [
        line.split() for line in (tmp_path / "out" / "references.stm").read_text().splitlines()
    ]
    assert {row[0]: (row[3], row[4]) for row in references} == {
        id: ("0.000", f"{end:.3f}") for id, end in seconds.items()
    }


def test_what_dev_chose_is_stored_and_applied(adaptive_run, tmp_path, capsys):
    entry = load_checkpoint(adaptive_run / "best_model.pth")["decoder"]
    assert entry["tuned_on"] == "dev of tiny" and entry["readings"] in (
        "greedy",
        "filtered",
        "beam",
    )
    of_run = json.loads((adaptive_run / "result.json").read_text())
    assert of_run["best_dev_wer"] <= of_run["greedy_dev_wer"]
    result = judge(adaptive_run / "best_model.pth", tmp_path / "out")
    assert (
        result["wer"] == of_run["best_dev_wer"]
        and result["wer_interval"] == of_run["best_dev_wer_interval"]
    )
    assert "(chosen on dev of tiny)" in result["decoder_settings"]
    assert f"decoder: {result['decoder_settings']}" in capsys.readouterr().out


def test_stored_settings_are_used_and_not_chosen_anew(adaptive_run, tmp_path):
    checkpoint = load_checkpoint(adaptive_run / "best_model.pth")
    checkpoint["decoder"] |= {
        "readings": "beam",
        "strength": 0.0,
        "gloss_bonus": 30.0,
        "lm_weight": 0.0,
    }
    save_checkpoint(tmp_path / "talkative.pth", checkpoint)
    talkative = judge(tmp_path / "talkative.pth", tmp_path / "out")
    assert "gloss bonus 30" in talkative["decoder_settings"]
    assert (
        talkative["insertions"]
        > judge(tmp_path / "talkative.pth", tmp_path / "g", "--decoder", "greedy")["insertions"]
    )


def test_without_stored_settings_they_are_chosen_on_dev(finished_run, tmp_path):
    result = judge(finished_run / "best_model.pth", tmp_path / "out", "--split", "train")
    assert (
        "(chosen on dev of tiny, now)" in result["decoder_settings"] and result["sentences"] == 12
    )
    greedy = judge(finished_run / "best_model.pth", tmp_path / "greedy", "--decoder", "greedy")
    assert judge(finished_run / "best_model.pth", tmp_path / "dev")["wer"] <= greedy["wer"]


def test_the_beam_with_each_language_model(adaptive_run, tiny_corpus, tmp_path):
    best = adaptive_run / "best_model.pth"
    vocabulary = Vocabulary(load_checkpoint(best)["vocabulary"])
    train = [sentence.glosses for sentence in Corpus(tiny_corpus).split("train").sentences]
    write_arpa(train_language_model(train, vocabulary), vocabulary, tmp_path / "train.arpa")
    results = {}
    for name in ("none", "train", tmp_path / "train.arpa"):
        results[name] = judge(best, tmp_path / "out", "--decoder", "beam", "--lm", name)
        results[name]["text"] = (tmp_path / "out" / "hypotheses.csv").read_text()
    assert results["none"]["decoder_settings"] == "beam, no language model"
    assert results["train"]["decoder_settings"].startswith("beam, language model weight 0.")
    assert results["train"]["text"] == results[tmp_path / "train.arpa"]["text"]


def test_the_beams_language_model_counts_though_dev_did_not_choose_one(
    finished_run, tmp_path, capsys
):
    checkpoint = load_checkpoint(finished_run / "best_model.pth")
    texts = {}
    for name in ("none", "train"):
        options = ("--decoder", "beam", "--split", "train", "--lm", name)
        result = judge(finished_run / "best_model.pth", tmp_path / name, *options)
        texts[name] = (tmp_path / name / "hypotheses.csv").read_text()
    assert (
        result["decoder_settings"] == "beam, language model weight 0.25, gloss bonus 1.5 (default)"
    )
    assert texts["none"] != texts["train"]
    checkpoint["decoder"] |= {
        "tuned_on": "dev of elsewhere",
        "readings": "beam",
        "gloss_bonus": 2.0,
        "lm_weight": 0.5,
    }
    save_checkpoint(tmp_path / "tuned.pth", checkpoint)
    result = judge(tmp_path / "tuned.pth", tmp_path / "out", "--decoder", "beam", "--lm", "train")
    described = "beam, language model weight 0.5, gloss bonus 2 (tuned on dev of elsewhere)"
    assert (
        result["decoder_settings"] == described
        and f"decoder: {described}\n" in capsys.readouterr().out
    )


def test_another_language_model_makes_adaptive_choose_anew(adaptive_run, tmp_path):
    for name in ("none", "train"):
        result = judge(adaptive_run / "best_model.pth", tmp_path / name, "--lm", name)
        assert "(chosen on dev of tiny, now)" in result["decoder_settings"]


def test_a_run_keeps_the_language_model_of_its_train_split(
    make_settings, execute_run, tiny_corpus, tmp_path, monkeypatch
):
    def chosen(posteriors, references, vocabulary, steps_per_gloss, language_model):
        return LengthNormalization(steps_per_gloss, lm_weight=0.5)

    monkeypatch.setattr("training.run.tune", chosen)
    execute_run(make_settings(tmp_path / "run", decoder="adaptive", epochs=1))
    checkpoint = load_checkpoint(tmp_path / "run" / "best_model.pth")
    train = [sentence.glosses for sentence in Corpus(tiny_corpus).split("train").sentences]
    expected = train_language_model(train, Vocabulary(checkpoint["vocabulary"]))
    stored = checkpoint["decoder"]["language_model"]
    assert (
        all(torch.equal(stored[name], value) for name, value in vars(expected).items())
        and len(stored) == 3
    )


def test_train_sentences_that_the_language_model_cannot_take_are_counted(
    finished_run, make_corpus, tmp_path, capsys
):
    path = make_corpus(
        tmp_path / "corpus", {"train": ["SUN RAIN", "FOG SUN", "RAIN", "ICE"], "dev": ["SUN"]}
    )
    judge(
        finished_run / "best_model.pth",
        tmp_path / "out",
        "--data_dir",
        path,
        "--decoder",
        "beam",
        "--lm",
        "train",
    )
    expected = "language model: 2 of 4 train sentences have glosses outside the vocabulary and are left out\n"
    assert expected in capsys.readouterr().out


def test_a_checkpoint_trained_in_another_precision_is_judged_on_the_cpu(finished_run, tmp_path):
    checkpoint = load_checkpoint(finished_run / "best_model.pth")
    checkpoint["config"]["training"]["precision"] = "fp16"
    save_checkpoint(tmp_path / "half.pth", checkpoint)
    half = judge(tmp_path / "half.pth", tmp_path / "half", "--decoder", "greedy")
    assert (
        half["wer"]
        == judge(finished_run / "best_model.pth", tmp_path / "full", "--decoder", "greedy")["wer"]
    )


def test_errors_of_each_sentence_add_up(finished_run, tmp_path):
    result = judge(
        finished_run / "best_model.pth", tmp_path, "--decoder", "beam", "--split", "train"
    )
    texts = [
        (tmp_path / name).read_text().splitlines() for name in ("sentences.csv", "hypotheses.csv")
    ]
    (header, *rows), (_, *hypotheses) = ([line.split("|") for line in lines] for lines in texts)
    kinds = ["substitutions", "deletions", "insertions"]
    assert header == ["id", "signer", "glosses", *kinds]
    assert [sum(int(row[3 + n]) for row in rows) for n in range(3)] == [
        result[kind] for kind in kinds
    ]
    for (id, signer, glosses, _, deletions, insertions), (*names, reference, hypothesis) in zip(
        rows, hypotheses, strict=True
    ):
        assert [id, signer] == names and int(glosses) == len(reference.split())
        assert int(insertions) - int(deletions) == len(hypothesis.split()) - int(glosses)


def test_every_rate_has_its_interval(finished_run, tmp_path):
    result = judge(
        finished_run / "best_model.pth", tmp_path / "a", "--decoder", "greedy", "--split", "train"
    )
    options = ("--decoder", "beam", "--split", "train", "--compare_with", tmp_path / "a")
    compared = judge(finished_run / "best_model.pth", tmp_path / "b", *options)["compared_with"]
    assert (compared["wer"], compared["wer_interval"]) == (result["wer"], result["wer_interval"])
    assert (
        set(result["by_length"]) == {"1-5"}
        and result["by_length"]["1-5"]["wer_interval"] == result["wer_interval"]
    )
    assert result["by_signer"]["anna"]["wer_interval"] == result["wer_interval"]
    low, high = result["wer_interval"]
    assert low < result["wer"] < high


def test_evaluations_do_not_overwrite_each_other(finished_run, tmp_path):
    best = Path(shutil.copy(finished_run / "best_model.pth", tmp_path))
    base = ["--checkpoint", str(best), "--device", "cpu", "--decoder", "beam"]
    for extra in ([], ["--lm", "none"], ["--lm", "train"], ["--scoring", "phoenix2014"]):
        assert evaluate.main([*base, *extra]) == 0
    suffixes = ("", "_lm_none", "_lm_train", "_phoenix2014")
    assert {path.name for path in tmp_path.iterdir() if path.is_dir()} == {
        f"evaluation_dev_beam{s}" for s in suffixes
    }


def test_a_corpus_that_is_gone_is_named_with_the_checkpoint_and_the_remedy(finished_run, tmp_path):
    checkpoint = load_checkpoint(finished_run / "best_model.pth")
    checkpoint["corpus"]["path"] = str(tmp_path / "gone")
    save_checkpoint(tmp_path / "moved.pth", checkpoint)
    with pytest.raises(
        DataError, match=r"moved\.pth was trained on the corpus .*gone.* not exist here.*--data_dir"
    ):
        judge(tmp_path / "moved.pth", tmp_path / "out")


def test_a_hypothesis_does_not_depend_on_its_neighbours(make_corpus, adaptive_run, tmp_path):
    """Posteriors to the bit, and hypotheses and times with them, whatever else is in the split."""
    annotations = ["SUN RAIN", "WIND WIND HOUSE TOMORROW SUN RAIN", "HOUSE", "RAIN SUN WIND"]
    checkpoint = load_checkpoint(adaptive_run / "best_model.pth")
    vocabulary = Vocabulary(checkpoint["vocabulary"])
    config = Config().updated(checkpoint["config"])
    model = load_model(checkpoint, "best", config.model, vocabulary, 0)
    cpu = torch.device("cpu")
    found = {}
    for count in (4, 2):
        path = make_corpus(
            tmp_path / f"corpus{count}", {"train": ["SUN"], "dev": annotations[:count]}
        )
        corpus = Corpus(path)
        pipeline = FeaturePipeline(corpus.aspect_ratio, cpu)
        posteriors = compute_posteriors(
            model, pipeline, corpus.split("dev"), Precision("fp32", cpu)
        )
        judge(
            adaptive_run / "best_model.pth",
            tmp_path / f"out{count}",
            "--data_dir",
            path,
            "--decoder",
            "beam",
        )
        ctm = (tmp_path / f"out{count}" / "hypotheses.ctm").read_text().splitlines()
        found[count] = posteriors, [line for line in ctm if line.split()[0] in ("dev-00", "dev-01")]
    assert all(torch.equal(few, many) for few, many in zip(found[2][0], found[4][0], strict=False))
    assert found[2][1] == found[4][1] and found[2][1]


def test_the_official_clean_up_keeps_times():
    spans = [(0.0, 0.1), (0.2, 0.3), (0.4, 0.5), (0.6, 0.7), (0.8, 0.9), (1.0, 1.1), (1.2, 1.3)]
    glosses = ["loc-NORD", "WIE", "AUSSEHEN", "REGEN", "REGEN", "A", "B"]
    assert clean_hypothesis(glosses, spans) == (
        ["NORD", "WIE-AUSSEHEN", "REGEN", "A+B"],
        [(0.0, 0.1), (0.2, 0.5), (0.6, 0.9), (1.0, 1.3)],
    )
    assert clean_hypothesis([], []) == ([], [])
    assert clean_hypothesis(["__PU__"], [(0.0, 1.0)]) == ([], [])


def test_phoenix_scoring_cleans_hypotheses_and_leaves_references(
    adaptive_run, make_corpus, tmp_path
):
    checkpoint = load_checkpoint(adaptive_run / "best_model.pth")
    checkpoint["vocabulary"] = [f"loc-{gloss}" for gloss in checkpoint["vocabulary"]]
    save_checkpoint(tmp_path / "best_model.pth", checkpoint)
    corpus = checkpoint["corpus"]["path"]
    options = ("--data_dir", corpus, "--decoder", "greedy")
    plain = judge(tmp_path / "best_model.pth", tmp_path / "plain", *options)
    assert plain["wer"] >= 100 or plain["deletions"] == plain["reference_glosses"], (
        "not a gloss is right"
    )
    cleaned = judge(
        tmp_path / "best_model.pth", tmp_path / "cleaned", *options, "--scoring", "phoenix2014"
    )
    assert cleaned["wer"] < plain["wer"]
    assert "loc-" not in (tmp_path / "cleaned" / "hypotheses.ctm").read_text()
    assert (tmp_path / "cleaned" / "references.stm").read_text() == (
        tmp_path / "plain" / "references.stm"
    ).read_text()


def test_two_evaluations_compared(adaptive_run, finished_run, tmp_path, capsys):
    judge(finished_run / "best_model.pth", tmp_path / "weak", "--decoder", "greedy")
    options = ("--decoder", "greedy", "--compare_with")
    against_itself = judge(
        finished_run / "best_model.pth", tmp_path / "same", *options, tmp_path / "weak"
    )
    assert against_itself["compared_with"]["p_value"] == 1.0
    result = judge(
        adaptive_run / "best_model.pth", tmp_path / "strong", *options, tmp_path / "weak"
    )
    assert (
        0 < result["compared_with"]["p_value"] <= 1
        and result["compared_with"]["wer"] == against_itself["wer"]
    )
    assert "p = " in capsys.readouterr().out
    with pytest.raises(UsageError, match="not an evaluation of the same sentences"):
        judge(
            finished_run / "best_model.pth",
            tmp_path / "x",
            *options,
            tmp_path / "weak",
            "--split",
            "train",
        )
    with pytest.raises(UsageError, match="cannot be read"):
        judge(finished_run / "best_model.pth", tmp_path / "x", *options, tmp_path / "nowhere")


def test_what_cannot_be_done_is_said_in_one_line(run_script, finished_run, tmp_path):
    best = finished_run / "best_model.pth"
    cases = [
        (("--checkpoint", tmp_path / "none.pth"), 3, "none.pth does not exist"),
        (("--checkpoint", best, "--split", "test"), 3, "test"),
        (
            ("--checkpoint", best, "--decoder", "beam", "--lm", tmp_path / "x.arpa"),
            3,
            "cannot be read",
        ),
        (("--checkpoint", best, "--decoder", "greedy", "--lm", "train"), 2, "no effect"),
        (("--checkpoint", best, "--decoder", "viterbi"), 2, "invalid choice: 'viterbi'"),
        ((), 2, "--checkpoint"),
    ]
    for options, code, message in cases:
        ended = run_script("evaluate.py", "--device", "cpu", *options)
        assert ended.returncode == code and message in ended.stderr, ended.stderr
        assert ended.stderr.count("\n") == 1 and ended.stderr.startswith("error: ")


def test_values_that_are_not_finite_are_an_error(finished_run, tmp_path):
    checkpoint = load_checkpoint(finished_run / "best_model.pth")
    checkpoint["model"]["head.weight"][1] = torch.nan
    save_checkpoint(tmp_path / "broken.pth", checkpoint)
    with pytest.raises(DataError, match="dev-00: the model's log-probabilities are not finite"):
        judge(tmp_path / "broken.pth", tmp_path / "out", "--decoder", "greedy")


def test_help_is_quick_and_needs_no_torch(run_script):
    code = (
        "import sys, evaluate\n"
        "try: evaluate.main(['--help'])\n"
        "except SystemExit: pass\n"
        "sys.exit(bool({'torch', 'numpy'} & set(sys.modules)))"
    )
    assert run_script("-c", code).returncode == 0


def test_decoders_side_by_side_give_what_evaluate_gives(
    run_script, finished_run, tiny_corpus, tmp_path
):
    best = finished_run / "best_model.pth"
    options = (
        "--checkpoint",
        best,
        "--data_dir",
        tiny_corpus,
        "--split",
        "train",
        "--device",
        "cpu",
    )
    ended = run_script("benchmarks/decoders.py", *options)
    assert ended.returncode == 0, ended.stderr
    rows = {line[:12].strip(): line[12:].split() for line in ended.stdout.splitlines()[3:]}
    for name, words in (
        ("greedy", ["greedy"]),
        ("beam + LM", ["beam", "--lm", "train"]),
        ("adaptive", ["adaptive"]),
    ):
        result = judge(best, tmp_path / "out", "--split", "train", "--decoder", *words)
        counts = [str(result[kind]) for kind in ("substitutions", "deletions", "insertions")]
        assert rows[name][0] == f"{result['wer']:.2f}" and rows[name][2:5] == counts
