import errno
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from decoding.scoring import Score
from errors import DataError, DivergenceError
from models import machine_choices
from models.cpu_kernels import BF16
from training import overfit_check
from training.config import Config, TrainingConfig
from training.corpus_checks import BadSentence
from training.overfit_check import run_overfit_check
from training.validation import validate


def test_the_overfit_check_stops_when_a_gradient_is_nan(tiny_settings, monkeypatch):
    tiny_settings["training"]["epochs"] = 10
    monkeypatch.setattr("torch.nn.utils.clip_grad_norm_", lambda *_: torch.tensor(float("nan")))
    with pytest.raises(DivergenceError, match="gradient of epoch 1 is not finite"):
        run_overfit_check(Config().updated(tiny_settings), 2)


def test_the_settings_without_an_effect_are_those_that_the_check_never_reads(
    tiny_settings, monkeypatch
):
    settings = Config().updated(tiny_settings).to_dict()
    used = overfit_check.used_settings(settings)
    assert set(used) == {"training", "model"} and used["model"] == settings["model"]
    read = set()

    def watched(self, name):
        read.add(name)
        return object.__getattribute__(self, name)

    config = Config().updated(tiny_settings).updated({"training": {"epochs": 1}})
    monkeypatch.setattr(TrainingConfig, "__getattribute__", watched)
    monkeypatch.setattr(overfit_check, "used_settings", lambda _: {})
    monkeypatch.setattr(Config, "to_dict", lambda _: {})
    run_overfit_check(config, 2)
    assert read & set(settings["training"]) == set(used["training"])


def test_the_batch_size_shares_the_sentences_out_to_updates(tiny_settings, monkeypatch):
    """Five sentences in batches of two are three updates; a batch size of five or more is one."""
    seen, compute = [], overfit_check.make_loss

    def make_loss(options):
        loss = compute(options)

        def counted(output, targets, lengths):
            if output.log_probs.requires_grad:
                seen.append(len(output.lengths))
            return loss(output, targets, lengths)

        counted.flat_start = loss.flat_start
        return counted

    monkeypatch.setattr(overfit_check, "make_loss", make_loss)
    for batch_size, expected in ((2, [2, 2, 1]), (5, [5]), (8, [5])):
        seen.clear()
        tiny_settings["training"] |= {"epochs": 2, "batch_size": batch_size}
        run_overfit_check(Config().updated(tiny_settings), 5)
        assert seen == 2 * expected


def test_warm_up_counts_epochs_whatever_the_batch_size(tiny_settings, monkeypatch):
    """With 4 epochs of warm-up, the last update of epoch 2 has half the peak: 6 of 12 updates with
    batches of two, 2 of 4 with one batch."""
    histories = []
    report = overfit_check._report

    def remember(*given):
        histories.append(given[3])
        return report(*given)

    monkeypatch.setattr(overfit_check, "_report", remember)
    for batch_size in (2, 5):
        tiny_settings["training"] |= {
            "epochs": 2,
            "batch_size": batch_size,
            "learning_rate": 0.01,
            "warmup_epochs": 4.0,
        }
        run_overfit_check(Config().updated(tiny_settings), 5)
    assert [[row["learning_rate"] for row in rows] for rows in histories] == [
        [pytest.approx(0.005)],
        [pytest.approx(0.005)],
    ]


def test_batch_normalisation_is_calibrated_before_each_check(tiny_settings, monkeypatch):
    """The running statistics of training lag behind the weights and contain dropout."""
    calibrated, validated = [], []
    calibrate, validate = overfit_check.calibrate, overfit_check.validate

    def record_calibration(model, pipeline, split, precision, sentences):
        calibrate(model, pipeline, split, precision, sentences)
        calibrated.append((len(split), sentences.tolist(), statistics(model)))

    def record_validation(model, *given):
        validated.append(statistics(model))
        return validate(model, *given)

    def statistics(model):
        return torch.cat([b.flatten() for name, b in model.named_buffers() if "running" in name])

    monkeypatch.setattr(overfit_check, "calibrate", record_calibration)
    monkeypatch.setattr(overfit_check, "validate", record_validation)
    tiny_settings["training"] |= {"epochs": 6}
    run_overfit_check(Config().updated(tiny_settings), 3)
    assert len(calibrated) == len(validated) == 2, "after epochs 5 and 6"
    for (size, sentences, measured), used in zip(calibrated, validated, strict=True):
        assert (size, sentences) == (3, [0, 1, 2])
        assert torch.equal(measured, used)


def test_too_few_epochs_for_three_checks_are_told(tiny_settings, monkeypatch):
    """0 % WER twice is no proof, but no reason either to look for a fault."""
    tiny_settings["training"]["epochs"] = 10
    flawless = Score(0, 0, 0, 10, 2)
    monkeypatch.setattr(
        overfit_check,
        "validate",
        lambda *given: replace(validate(*given), score=flawless),
    )
    result = run_overfit_check(Config().updated(tiny_settings), 2)
    assert not result.reached
    (line,) = overfit_check.advice(result)
    assert "3 checks in a row must have 0 % WER, 5 epochs apart; give --epochs 11 or more" in line
    tiny_settings["training"]["epochs"] = 11
    assert run_overfit_check(Config().updated(tiny_settings), 2).reached


def test_zero_wer_in_the_last_checks_only_is_told(tiny_settings, monkeypatch):
    """11 epochs have checks after 5, 10 and 11. The first one finds an error."""
    scores = [Score(1, 0, 0, 10, 2), Score(0, 0, 0, 10, 2), Score(0, 0, 0, 10, 2)]
    monkeypatch.setattr(
        overfit_check,
        "validate",
        lambda *given: replace(validate(*given), score=scores.pop(0)),
    )
    tiny_settings["training"]["epochs"] = 11
    result = run_overfit_check(Config().updated(tiny_settings), 2)
    assert not result.reached and not scores
    assert overfit_check.advice(result) == [
        "the last check had 0 % WER, but 0 % was not yet reached in 3 checks in a row: give more "
        "--epochs"
    ]


def test_the_check_minimises_the_flat_start_while_it_has_a_weight(tiny_settings, monkeypatch):
    """Its weight is 2/3, 1/3 and then 0. A gradient that is not finite ends the check."""
    calls: list[int] = []

    def broken_from(call):
        def flat_start(loss, output, targets, lengths):
            calls.append(len(calls) + 1)
            return output.log_probs.sum((1, 2)) * (float("nan") if len(calls) >= call else 0.0)

        return flat_start

    tiny_settings["training"] |= {"epochs": 4, "batch_size": 5, "flat_start_epochs": 3.0}
    monkeypatch.setattr("training.losses.TeacherLoss.flat_start", broken_from(2))
    with pytest.raises(DivergenceError, match="gradient of epoch 2 is not finite"):
        run_overfit_check(Config().updated(tiny_settings), 5)
    calls.clear()
    monkeypatch.setattr("training.losses.TeacherLoss.flat_start", broken_from(3))
    run_overfit_check(Config().updated(tiny_settings), 5)
    assert calls == [1, 2]


def test_no_more_of_the_train_split_is_read_than_is_needed(tiny_settings, monkeypatch):
    """Four sentences are looked at to choose three: two at a time, and the first one is broken."""
    monkeypatch.setattr(overfit_check, "_LOOKED_AT", 2)
    find, looked_at = overfit_check.find_bad_sentences, []

    def first_is_broken(part):
        looked_at.append([sentence.id for sentence in part.sentences])
        broken = BadSentence(0, part.sentences[0].id, "is broken", unreadable=True)
        return [*find(part), *[broken][len(looked_at) > 1 :]]

    monkeypatch.setattr(overfit_check, "find_bad_sentences", first_is_broken)
    tiny_settings["training"]["epochs"] = 1
    run_overfit_check(Config().updated(tiny_settings), 3)
    assert looked_at == [["train-00", "train-01"], ["train-02", "train-03"]]
    folder = Path(tiny_settings["training"]["output_dir"])
    rows = (folder / "hypotheses.csv").read_text(encoding="utf-8").splitlines()[1:]
    assert [row.split("|")[0] for row in rows] == ["train-01", "train-02", "train-03"]


@pytest.mark.parametrize("rule", ["signer", "sentence"])
def test_the_rule_of_the_leading_hand_is_that_of_the_configuration(
    tiny_settings, monkeypatch, rule
):
    made, make = [], overfit_check.FeaturePipeline
    monkeypatch.setattr(
        overfit_check, "FeaturePipeline", lambda *a, **k: made.append(make(*a, **k)) or made[-1]
    )
    tiny_settings["training"]["epochs"] = 1
    tiny_settings["model"]["leading_hand"] = rule
    run_overfit_check(Config().updated(tiny_settings), 2)
    assert [pipeline.leading_hand for pipeline in made] == [rule]


def test_the_check_computes_in_the_number_format_that_is_faster(tiny_settings, monkeypatch, capsys):
    """A tiny model counts as large here, and bf16 as the fastest way."""
    for name in ("SHARED", "LARGE"):
        monkeypatch.setattr(machine_choices, name, 1)
    monkeypatch.setattr(
        machine_choices,
        "seconds_of_linear",
        lambda rows, width, ways: dict.fromkeys(ways, 1.0) | ({BF16: 0.1} if BF16 in ways else {}),
    )
    used = []

    def recorded(model, pipeline, split, vocabulary, loss, precision, **options):
        used.append(precision.name)
        return validate(model, pipeline, split, vocabulary, loss, precision, **options)

    monkeypatch.setattr(overfit_check, "validate", recorded)
    tiny_settings["training"]["epochs"] = 5
    run_overfit_check(Config().updated(tiny_settings), 2)
    assert set(used) == {"bf16"} and "bf16 on cpu" in capsys.readouterr().out
    tiny_settings["training"]["precision"] = "fp32"
    used.clear()
    run_overfit_check(Config().updated(tiny_settings), 2)
    assert set(used) == {"fp32"}


def test_a_file_that_cannot_be_read_is_named(tiny_settings, tmp_path, monkeypatch):
    """The disk of the corpus fails while the check computes."""
    landmarks = Path(tiny_settings["training"]["data_dir"]) / "train.landmarks.npy"

    def broken(*_):
        raise OSError(errno.EIO, "Input/output error", str(landmarks))

    monkeypatch.setattr(overfit_check, "feature_statistics", broken)
    with pytest.raises(DataError, match=rf"^cannot read {landmarks}: Input/output error$"):
        run_overfit_check(Config().updated(tiny_settings), 2)


@pytest.mark.parametrize("name", ["write_config", "record_session", "_write_results"])
def test_a_full_disk_names_the_folder(tiny_settings, tmp_path, monkeypatch, name):
    def full(*_):
        raise OSError(errno.EFBIG, "File too large")  # names no file

    monkeypatch.setattr(overfit_check, name, full)
    config = Config().updated(tiny_settings).updated({"training": {"epochs": 1}})
    with pytest.raises(DataError, match=rf"^cannot write to {tmp_path / 'run'}: File too large$"):
        run_overfit_check(config, 2)
