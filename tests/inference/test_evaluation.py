"""Evaluation: hypotheses, times, scoring, and the comparison of two evaluations."""

import pytest
import torch

import inference.posteriors
from data.checks.file_hash import sha256_of
from data.corpus import Corpus
from data.output_place import BeingWrittenError
from data.pipeline import FeaturePipeline
from decoding.batches import decode_sentences
from errors import DataError, counted
from inference.opened_checkpoint import open_checkpoint
from inference.posteriors import sentence_posteriors
from models.checkpoint import load_checkpoint, save_checkpoint
from models.devices import Precision
from tests.decoding.live_posteriors import LivePosteriors


def test_times_are_inside_the_sentence_and_in_order(
    run_evaluate, adaptive_run, tiny_corpus, tmp_path
):
    run_evaluate(adaptive_run / "best_model.pth", tmp_path / "out")
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


def test_errors_of_each_sentence_add_up(run_evaluate, finished_run, tmp_path):
    result = run_evaluate(
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


def test_every_rate_has_its_interval(run_evaluate, finished_run, tmp_path):
    result = run_evaluate(
        finished_run / "best_model.pth", tmp_path / "a", "--decoder", "greedy", "--split", "train"
    )
    options = ("--decoder", "beam", "--split", "train", "--compare_with", tmp_path / "a")
    compared = run_evaluate(finished_run / "best_model.pth", tmp_path / "b", *options)[
        "compared_with"
    ]
    assert (compared["wer"], compared["wer_interval"]) == (result["wer"], result["wer_interval"])
    assert (
        set(result["by_length"]) == {"1-5"}
        and result["by_length"]["1-5"]["wer_interval"] == result["wer_interval"]
    )
    assert result["by_signer"]["anna"]["wer_interval"] == result["wer_interval"]
    low, high = result["wer_interval"]
    assert low < result["wer"] < high


def test_only_sentences_of_the_training_give_no_result(
    run_evaluate, adaptive_run, make_corpus, tmp_path
):
    other = make_corpus(tmp_path / "other", {"train": ["SUN RAIN", "HOUSE WIND", "RAIN SUN"]})
    for name, options, neutral in (
        ("own train", ("--split", "train"), True),
        ("own dev", ("--split", "dev"), False),
        ("other train", ("--split", "train", "--data_dir", other), False),
    ):
        options = ("--decoder", "greedy", *options)
        result = run_evaluate(adaptive_run / "best_model.pth", tmp_path / name, *options)
        page = (tmp_path / name / "report.html").read_text(encoding="utf-8")
        words = f"Not a result: WER {result['wer']:.2f} % on the sentences that the model was"
        assert result["wer"] < 90 and (words in page) == neutral
        assert ("(target: below" in page) != neutral


def test_a_hypothesis_does_not_depend_on_the_other_sentences(
    run_evaluate, make_corpus, adaptive_run, tmp_path
):
    """Posteriors are equal to the bit, with other sentences in the split; so are hypotheses and
    times."""
    annotations = ["SUN RAIN", "WIND WIND HOUSE TOMORROW SUN RAIN", "HOUSE", "RAIN SUN WIND"]
    model = open_checkpoint(adaptive_run / "best_model.pth", "cpu").model
    cpu = torch.device("cpu")
    found = {}
    for count in (4, 2):
        path = make_corpus(
            tmp_path / f"corpus{count}", {"train": ["SUN"], "dev": annotations[:count]}
        )
        corpus = Corpus(path)
        pipeline = FeaturePipeline(corpus.aspect_ratio, cpu)
        posteriors = [
            sentence_posteriors(model, pipeline, corpus.split("dev"), Precision("fp32", cpu), index)
            for index in range(count)
        ]
        run_evaluate(
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


def test_phoenix_scoring_cleans_hypotheses_and_not_references(
    run_evaluate, adaptive_run, make_corpus, tmp_path, capsys
):
    checkpoint = load_checkpoint(adaptive_run / "best_model.pth")
    checkpoint["vocabulary"] = [f"loc-{gloss}" for gloss in checkpoint["vocabulary"]]
    save_checkpoint(tmp_path / "best_model.pth", checkpoint)
    corpus = checkpoint["corpus"]["path"]
    options = ("--data_dir", corpus, "--decoder", "greedy")
    plain = run_evaluate(tmp_path / "best_model.pth", tmp_path / "plain", *options)
    errors = plain["substitutions"] + plain["deletions"]
    assert errors == plain["reference_glosses"], "not a gloss is right"
    cleaned = run_evaluate(
        tmp_path / "best_model.pth", tmp_path / "cleaned", *options, "--scoring", "phoenix2014"
    )
    assert cleaned["wer"] < plain["wer"]
    assert "loc-" not in (tmp_path / "cleaned" / "hypotheses.ctm").read_text()
    warned = "glosses outside the vocabulary, scored as errors"
    before, after = capsys.readouterr().out.split(f"evaluation: {tmp_path / 'plain'}\n")
    assert warned in before and warned not in after
    assert (tmp_path / "cleaned" / "references.stm").read_text() == (
        tmp_path / "plain" / "references.stm"
    ).read_text()


def test_phoenix_scoring_cleans_the_train_text_before_it_tells_known_and_new_apart(
    run_evaluate, run_copy, make_corpus, tmp_path
):
    """References are never cleaned: RAIN in train is loc-RAIN, and SUN repeats."""
    splits = {"train": ["loc-RAIN WIND", "SUN SUN"], "dev": ["RAIN WIND", "SUN", "loc-RAIN"]}
    corpus = Corpus(make_corpus(tmp_path / "corpus", splits))
    checkpoint = load_checkpoint(run_copy / "best_model.pth")
    checkpoint["corpus"] |= {"path": str(corpus.path), "fingerprint": corpus.fingerprint}
    save_checkpoint(run_copy / "best_model.pth", checkpoint)
    for scoring, known in (("plain", 0), ("phoenix2014", 2)):
        options = ("--decoder", "greedy", "--scoring", scoring)
        result = run_evaluate(run_copy / "best_model.pth", tmp_path / scoring, *options)
        novelty = result["novelty"]
        assert novelty["sentences"]["known"]["sentences"] == known
        never = novelty["glosses_by_frequency"]["0"]["occurrences"]
        assert never == 1, "RAIN without the clean-up, loc-RAIN with it"


def test_a_partly_annotated_split_is_warned_about(
    run_evaluate, adaptive_run, make_corpus, tmp_path, capsys
):
    corpus = make_corpus(tmp_path / "corpus", {"test": ["SUN RAIN", "HOUSE", "WIND", "RAIN SUN"]})
    lines = (corpus / "test.csv").read_text("utf-8").splitlines()
    for number in (2, 3):
        lines[number] = lines[number].rsplit("|", 1)[0] + "|"
    (corpus / "test.csv").write_text("\n".join([*lines, ""]), "utf-8")
    options = ("--split", "test", "--decoder", "greedy", "--data_dir", corpus)
    result = run_evaluate(adaptive_run / "best_model.pth", tmp_path / "some", *options)
    assert result["sentences_without_reference"] == 2 and result["insertions"] > 0
    assert (
        "warning: 2 of 4 test sentences have no reference: each gloss that is predicted there "
        "counts as an insertion; annotate them, or take them out of the split\n"
    ) in (printed := capsys.readouterr().out)
    insertions = counted(result["no_reference"]["insertions"], "insertion")
    group = f"  no reference: 2 sentences, {insertions}\n"
    assert printed.count(group) == 3, "by signer, by length, known and new"
    assert result["no_reference"] == result["novelty"]["no_reference"]
    page = (tmp_path / "some" / "report.html").read_text(encoding="utf-8")
    assert "<b>Partly annotated.</b> 2 of 4 sentences" in page
    own = run_evaluate(adaptive_run / "best_model.pth", tmp_path / "own", "--decoder", "greedy")
    assert own["sentences_without_reference"] == 0
    assert "no reference" not in capsys.readouterr().out


def test_sentences_without_a_known_signer_are_a_group_with_its_name(
    run_evaluate, adaptive_run, make_corpus, tmp_path, capsys
):
    corpus = make_corpus(tmp_path / "corpus", {"test": ["SUN RAIN", "HOUSE", "WIND", "RAIN SUN"]})
    table = corpus / "test.csv"
    table.write_text(table.read_text("utf-8").replace("|anna|", "|unknown|", 3), "utf-8")
    options = ("--split", "test", "--decoder", "greedy", "--data_dir", corpus)
    result = run_evaluate(adaptive_run / "best_model.pth", tmp_path / "out", *options)
    groups = {name: rates["sentences"] for name, rates in result["by_signer"].items()}
    assert groups == {"anna": 1, "signer not known": 3}
    assert "\n  signer not known: " in capsys.readouterr().out
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert " · signer not known<" in page and "unknown" not in page
    assert "|unknown|" in (tmp_path / "out" / "sentences.csv").read_text("utf-8")


def test_a_gloss_that_sclite_misunderstands_is_named(
    run_evaluate, finished_run, make_corpus, tmp_path, capsys
):
    corpus = make_corpus(tmp_path / "corpus", {"dev": ["SUN @", "RAIN"]})
    options = ("--decoder", "greedy", "--data_dir", corpus)
    run_evaluate(finished_run / "best_model.pth", tmp_path / "out", *options)
    assert "warning: sclite takes the gloss @ for its own commands" in capsys.readouterr().out


def test_the_evaluation_of_a_simulated_model_says_so(
    run_evaluate, run_copy, make_corpus, tmp_path, capsys
):
    """On real signers, too. Files that cannot say it are named."""
    corpus = make_corpus(tmp_path / "real", {"dev": ["SUN", "RAIN SUN"]})
    options = ("--decoder", "greedy", "--data_dir", corpus)
    best = run_copy / "best_model.pth"
    for simulated in (False, True):
        checkpoint = load_checkpoint(best)
        checkpoint["corpus"]["simulated"] = simulated
        save_checkpoint(best, checkpoint)
        folder = tmp_path / f"out-{simulated}"
        result = run_evaluate(best, folder, *options)
        assert (result["trained_on_simulated"], result["simulated"]) == (simulated, False)
        note = "note: the model was trained on tiny (simulated signers); of the results, only"
        assert (note in capsys.readouterr().out) == simulated
        texts = [result["trained_on"]]
        texts += [
            (folder / name).read_text("utf-8") for name in ("environment.json", "report.html")
        ]
        assert {"tiny (simulated signers)" in text for text in texts} == {simulated}


def test_one_sentence_has_no_interval_anywhere(
    run_evaluate, adaptive_run, make_corpus, tmp_path, capsys
):
    corpus = make_corpus(tmp_path / "corpus", {"train": ["SUN RAIN"], "dev": ["SUN RAIN"]})
    best, options = adaptive_run / "best_model.pth", ("--data_dir", corpus, "--decoder")
    run_evaluate(best, tmp_path / "first", *options, "greedy")
    words = (*options, "closed", "--compare_with", tmp_path / "first")
    result = run_evaluate(best, tmp_path / "second", *words)
    printed = capsys.readouterr().out
    assert "95 % interval" not in printed
    for start in ("dev of corpus", "open vocabulary", "signer anna", "compared with"):
        line = next(line for line in printed.splitlines()[::-1] if line.strip().startswith(start))
        assert "no interval of one sentence" in line
    assert len(result["compared_with"]["wer_interval"]) == 2, "the file keeps the numbers"
    page = (tmp_path / "second" / "report.html").read_text(encoding="utf-8")
    assert "rate, no interval of one sentence</span>" in page and ", 95 % interval" not in page


def test_a_checkpoint_trained_in_another_precision_is_evaluated_in_fp32(
    run_evaluate, finished_run, tmp_path
):
    checkpoint = load_checkpoint(finished_run / "best_model.pth")
    checkpoint["config"]["training"]["precision"] = "fp16"
    save_checkpoint(tmp_path / "half.pth", checkpoint)
    half = run_evaluate(tmp_path / "half.pth", tmp_path / "half", "--decoder", "greedy")
    assert (
        half["wer"]
        == run_evaluate(finished_run / "best_model.pth", tmp_path / "full", "--decoder", "greedy")[
            "wer"
        ]
    )


def test_values_that_are_not_finite_are_an_error(run_evaluate, finished_run, tmp_path):
    checkpoint = load_checkpoint(finished_run / "best_model.pth")
    checkpoint["model"]["head.weight"][1] = torch.nan
    save_checkpoint(tmp_path / "broken.pth", checkpoint)
    with pytest.raises(DataError, match="dev-03: the model's log-probabilities are not finite"):
        run_evaluate(tmp_path / "broken.pth", tmp_path / "out", "--decoder", "greedy")


@pytest.mark.parametrize("decoder", ["beam", "adaptive"])
def test_an_evaluation_keeps_no_log_probabilities(
    run_evaluate, finished_run, tmp_path, monkeypatch, decoder
):
    """Also where the adaptive decoder is tuned on dev before: 12 + 4 sentences, 3 in the report."""
    monkeypatch.setattr("decoding.batches._BATCH_SIZE", 2)
    live = LivePosteriors(monkeypatch)
    one_by_one = inference.posteriors._one_by_one
    monkeypatch.setattr(
        inference.posteriors, "_one_by_one", lambda *words: live.watched(one_by_one(*words))
    )
    options = ("--decoder", decoder, "--split", "train")
    result = run_evaluate(finished_run / "best_model.pth", tmp_path / "out", *options)
    assert result["sentences"] == 12 and live.made >= 12 + 6 + 3
    assert live.most <= 5  # a batch of two, its sentences, and one that comes


def test_a_checkpoint_that_is_replaced_meanwhile_is_not_recorded(
    run_evaluate, run_copy, tmp_path, monkeypatch
):
    """That of a training which goes on: the evaluated file counts."""
    checkpoint = run_copy / "best_model.pth"
    expected = sha256_of(checkpoint)

    def decode(*args, **options):
        checkpoint.write_bytes(b"another")
        return decode_sentences(*args, **options)

    monkeypatch.setattr("inference.evaluation.decode_sentences", decode)
    run_evaluate(checkpoint, tmp_path / "out")
    environment = (tmp_path / "out" / "environment.json").read_text()
    assert expected in environment


def test_two_evaluations_do_not_write_into_one_folder(
    run_evaluate, finished_run, tmp_path, monkeypatch
):
    checkpoint, out = finished_run / "best_model.pth", tmp_path / "new" / "out"
    refused = []

    def decode(*args, **options):
        if not refused:
            refused.append(1)
            with pytest.raises(BeingWrittenError, match=r"another process is writing .*out"):
                run_evaluate(checkpoint, out)
        return decode_sentences(*args, **options)

    monkeypatch.setattr("inference.evaluation.decode_sentences", decode)
    run_evaluate(checkpoint, out)
    assert refused == [1] and not (out / ".writing").exists()


def test_an_evaluation_that_fails_leaves_no_folder(
    run_evaluate, finished_run, tmp_path, monkeypatch
):
    def fail(*_, **__):
        raise DataError("no")

    monkeypatch.setattr("inference.evaluation.decode_sentences", fail)
    with pytest.raises(DataError, match="no"):
        run_evaluate(finished_run / "best_model.pth", tmp_path / "new" / "out")
    assert list(tmp_path.iterdir()) == []
