"""The plan of an epoch: joined sentences have their targets and their lengths."""

import dataclasses

import numpy as np
import pytest

from data.augmentation.draws import draw_augmentation
from data.corpus import Split
from data.ctc_lengths import min_frames
from data.ctc_targets import PreparedSplit, prepare_split
from data.sentences import Sentence
from data.vocabulary import Vocabulary
from errors import UsageError
from training.config import Config
from training.epoch_plan import EpochPlan

GLOSSES = [f"G{number}" for number in range(9)]


def prepared(signers: list[str], count: int = 40) -> PreparedSplit:
    """A train split of sentences of 20 to 59 frames; sentence 3 is left out of training."""
    random = np.random.default_rng(0)
    rows = [
        Sentence(
            f"s{number}",
            signers[number % len(signers)],
            20 + number,
            tuple(random.choice(GLOSSES, 1 + number % 4).tolist()),
        )
        for number in range(count)
    ]
    frames = sum(row.frames for row in rows)
    landmarks = np.zeros((frames, 543, 3), dtype=np.float16)
    split = Split("train", rows, landmarks, np.ones((frames, 4), dtype=bool))
    train = prepare_split(split, Vocabulary(GLOSSES))
    targets = [None if index == 3 else target for index, target in enumerate(train.targets)]
    return PreparedSplit(split, targets, ["X"])


def of_fewest_frames(train: PreparedSplit) -> PreparedSplit:
    """The split with just enough frames for CTC in each sentence, but 80 in the last one."""
    rows = [
        dataclasses.replace(row, frames=min_frames(row.glosses)) for row in train.split.sentences
    ]
    rows[-1] = dataclasses.replace(rows[-1], frames=80)
    frames = sum(row.frames for row in rows)
    landmarks = np.zeros((frames, 543, 3), dtype=np.float16)
    split = Split("train", rows, landmarks, np.ones((frames, 4), dtype=bool))
    return PreparedSplit(split, train.targets, train.unknown_glosses)


def planned(train: PreparedSplit, mix: float) -> EpochPlan:
    config = Config().updated({"augmentation": {"mix": mix}, "training": {"batch_size": 5}})
    return EpochPlan(config, train, lambda epoch: (7, epoch + 100), 0.8)


@pytest.mark.parametrize("mix", [0.0, 0.9])
def test_an_epoch_has_the_targets_and_lengths_of_its_sentences(mix):
    train = prepared(["anna", "ben"])
    plan = planned(train, mix)
    groups = plan.begin(2)
    assert sorted(index for group in groups for batch in group for index in batch) == [
        index for index in range(40) if index != 3
    ]
    joined = np.flatnonzero(plan.split.split.lengths != train.split.lengths)
    assert len(joined) > 8 if mix else not len(joined)
    expected = prepare_split(plan.split.split, Vocabulary(GLOSSES)).targets
    expected[3] = None
    assert plan.split.targets == expected and plan.split.unknown_glosses == ["X"]
    config, lengths = plan._config.augmentation, plan.augmented_lengths(plan.split, 2)
    for index, length in zip(plan.trainable, lengths, strict=True):
        one = plan.split.split.sentences[index]
        drawn = draw_augmentation(config, 7, 102, one.id, one.frames, min_frames(one.glosses))
        assert len(drawn.times) == length
    # The split of single sentences stays as it is, for the next epoch.
    assert train.split.lengths.tolist() == list(range(20, 60))


def test_augmentation_leaves_joined_and_single_sentences_the_frames_that_ctc_needs():
    plan = planned(of_fewest_frames(prepared(["anna"])), 0.9)
    for epoch in (2, 3, 4):
        plan.begin(epoch)
        split, expected = plan.split.split, []
        for index in plan.trainable:
            one, config = split.sentences[index], plan._config.augmentation
            fewest = min_frames(one.glosses)
            drawn = draw_augmentation(config, 7, epoch + 100, one.id, one.frames, fewest)
            assert len(drawn.times) >= fewest
            expected.append(len(drawn.times))
        assert plan.augmented_lengths(plan.split, epoch).tolist() == expected
        assert 0 < len(split.joined) < 39


def test_the_seed_decides_which_sentences_are_joined():
    def joined(seed: int) -> list[int]:
        given = {"augmentation": {"mix": 0.5}, "training": {"seed": seed}}
        plan = EpochPlan(Config().updated(given), prepared(["anna"]), lambda epoch: (7, epoch), 0.8)
        plan.begin(1)
        return plan.split.split.joined

    assert joined(1) == joined(1) != joined(2)


@pytest.mark.parametrize(
    "signers, mix, note",
    [
        (["anna", "ben"], 0.3, ""),
        (["unknown"], 0.0, ""),
        (["unknown"], 0.3, "39 of 39 train sentences have no known signer in train.csv"),
        (["anna", ""], 0.3, "19 of 39 train sentences have no known signer in train.csv"),
    ],
)
def test_unknown_signers_are_told_where_sentences_are_joined(signers, mix, note, capsys):
    planned(prepared(signers), mix)
    said = capsys.readouterr().out
    assert note in said and bool(note) == bool(said)


def test_without_augmentation_no_sentences_are_joined(capsys):
    train = prepared(["anna", "unknown"])
    config = Config().updated({"augmentation": {"enabled": False, "mix": 0.9}})
    plan = EpochPlan(config, train, lambda epoch: (7, epoch), 0.8)
    plan.begin(2)
    assert plan.split is train and capsys.readouterr().out == ""


@pytest.mark.parametrize(
    "training",
    [
        {"batch_size": 5, "accumulation_steps": 2},
        {"batch_size": 39, "accumulation_steps": 1},
        {"batch_size": 13, "accumulation_steps": 4},
        {"frames_per_batch": 150, "accumulation_steps": 3},
    ],
)
def test_the_updates_of_the_first_epoch_are_counted_before_it(training):
    config = Config().updated({"augmentation": {"mix": 0.0}, "training": training})
    plan = EpochPlan(config, prepared(["anna"]), lambda epoch: (7, epoch), 0.8)
    counted = plan.updates_per_epoch
    assert counted == len(plan.begin(1)) == plan.updates


def test_with_a_fixed_number_of_sentences_nothing_is_drawn_before_the_first_epoch(monkeypatch):
    monkeypatch.setattr("training.epoch_plan.augmented_lengths", None)
    # 39 sentences in 8 batches of 5, two batches an update
    assert planned(prepared(["anna"]), 0.3).updates_per_epoch == 4


def batches_of(epoch: int, **training) -> list[list[int]]:
    config = Config().updated(
        {"augmentation": {"mix": 0.0, "enabled": False}, "training": training}
    )
    plan = EpochPlan(config, prepared(["anna"]), lambda epoch: (7, epoch), 0.8)
    return [batch.tolist() for group in plan.begin(epoch) for batch in group]


@pytest.mark.parametrize("batches", [{"batch_size": 5}, {"frames_per_batch": 200}])
def test_seed_and_epoch_decide_which_sentences_form_a_batch(batches):
    found = batches_of(2, seed=1, **batches)
    assert found == batches_of(2, seed=1, **batches)
    assert found != batches_of(3, seed=1, **batches)
    assert found != batches_of(2, seed=2, **batches)


def test_a_sentence_of_exactly_the_budget_is_not_reported_as_longer(capsys):
    """The longest sentences have 57, 58 and 59 frames."""
    batches_of(1, frames_per_batch=59)
    assert capsys.readouterr().out == ""
    batches_of(1, frames_per_batch=57)
    assert "2 sentences longer than --frames_per_batch 57: a batch each" in capsys.readouterr().out


def timed(train: PreparedSplit) -> PreparedSplit:
    """The same with gloss times: each gloss has 4 frames, at the start of its sentence."""
    split = train.split
    places = [place for row in split.sentences for place in range(len(row.glosses))]
    times = np.array([[4 * place, 4 * place + 4] for place in places], dtype="<i4")
    split = Split("train", split.sentences, split.landmarks, split.detected, times)
    return PreparedSplit(split, train.targets, train.unknown_glosses)


@pytest.mark.parametrize("mix", [0.0, 0.5])
def test_spliced_sentences_have_their_targets_and_lengths(mix):
    train = timed(prepared(["anna"]))
    config = Config().updated({"augmentation": {"mix": mix, "splice": 0.7}})
    plan = EpochPlan(config, train, lambda epoch: (7, epoch), 0.8)
    plan.begin(2)
    split = plan.split.split
    expected = prepare_split(split, Vocabulary(GLOSSES)).targets
    expected[3] = None
    assert plan.split.targets == expected and 20 < len(split.joined) < 39
    lengths = plan.augmented_lengths(plan.split, 2)
    fewest = [min_frames(split.sentences[index].glosses) for index in plan.trainable]
    assert (lengths >= fewest).all()
    first = [one.glosses for one in split.sentences]
    assert split.single is train.split
    plan.begin(3)
    assert [one.glosses for one in plan.split.split.sentences] != first


def test_splicing_needs_gloss_times_and_tells_what_it_leaves_alone(capsys):
    config = Config().updated({"augmentation": {"splice": 0.5}})
    message = r"augmentation.splice 0.5: .*prepare_data.py align, or set augmentation.splice to 0"
    with pytest.raises(UsageError, match=message):
        EpochPlan(config, prepared(["anna"]), lambda epoch: (7, epoch), 0.8)
    EpochPlan(config, timed(prepared(["anna", ""])), lambda epoch: (7, epoch), 0.8)
    assert "19 of 39 train sentences have no known signer or no known" in capsys.readouterr().out
    off = config.updated({"augmentation": {"enabled": False}})
    EpochPlan(off, prepared(["anna"]), lambda epoch: (7, epoch), 0.8).begin(1)


@pytest.mark.parametrize("epochs, updates", [(0.7, 3), (0.6, 2)])
def test_a_warm_up_of_a_part_of_an_epoch_has_the_nearest_number_of_updates(epochs, updates):
    """Of four updates 0.7 epochs are 2.8, and 0.6 epochs are 2.4."""
    given = {
        "augmentation": {"mix": 0.0},
        "training": {"batch_size": 5, "warmup_epochs": epochs, "learning_rate": 1.0},
    }
    plan = EpochPlan(Config().updated(given), prepared(["anna"]), lambda epoch: (7, epoch), 0.8)
    assert plan.updates_per_epoch == 4
    rates = [plan.learning_rate(step) for step in range(updates)]
    assert rates == pytest.approx([(step + 1) / updates for step in range(updates)])


def test_the_flat_start_falls_to_nothing_over_its_epochs_however_many_updates_they_have():
    """An epoch with twice as many updates as the first one takes half as large steps."""
    plan = planned(prepared(["anna"]), 0.0)
    first = plan.updates_per_epoch
    assert plan.flat_start(1, 0) == pytest.approx(1 - 1 / (4 * first))
    plan.updates = 2 * first
    assert plan.flat_start(3, first) == pytest.approx(1 - 2.5 / 4 - 1 / (4 * first))
    assert plan.flat_start(5, 0) == 0
