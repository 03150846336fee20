"""The teacher predicts the same augmented sentences that the student sees."""

import pytest
import torch

from data.corpus import Corpus
from data.device_cache import CachedSplit
from data.handedness.leading_hand_rules import BY_SENTENCE
from data.sources.corpus_resampling import resample_corpus
from data.vocabulary import Vocabulary
from distillation.teachers import OnlineTeacher, StoredTeacher, TaughtBatch
from errors import DataError
from models.build import read_model_config
from models.checkpoint import load_checkpoint, save_checkpoint
from models.i3d_teacher import I3DTeacher


@pytest.fixture
def load_teacher(finished_run):
    """load_teacher(selection): the finished run's model, built without the code under test."""

    def load(selection) -> I3DTeacher:
        checkpoint = load_checkpoint(finished_run / "best_model.pth")
        teacher = I3DTeacher(read_model_config(checkpoint, ""), 6).eval()
        teacher.load_state_dict(checkpoint["model"])
        teacher.set_input_selection(selection)
        return teacher

    return load


def test_the_online_teacher_predicts_the_students_batch(settings, prepare, load_teacher):
    trainer = prepare(settings()).trainer
    teacher = load_teacher(trainer.pipeline.selection)
    weights = trainer.source.model.state_dict()
    before = {name: tensor.clone() for name, tensor in weights.items()}
    for batch in trainer.batches(trainer.plan.begin(1)[0]):
        assert isinstance(batch, TaughtBatch)
        expected = teacher(batch.features, batch.lengths, batch.detected).log_probs
        assert torch.allclose(expected, batch.teacher_log_probs, atol=1e-5)
        trainer.update([batch])
        trainer.finish_pending_update()
    after = trainer.source.model.state_dict()
    assert all(torch.equal(tensor, before[name]) for name, tensor in after.items())


def test_the_teacher_of_a_causal_student_still_looks_ahead(settings, prepare):
    """The same draws give as many steps, but the teacher gets features of its kind."""
    causal, full = (prepare(settings(model={"causal": flag})).trainer for flag in (True, False))
    plan = causal.plan.begin(1)[0]
    for batch, other in zip(causal.batches(plan), full.batches(plan), strict=True):
        assert torch.equal(batch.teacher_log_probs, other.teacher_log_probs)
        assert torch.equal(batch.lengths, other.lengths)
        assert not torch.equal(batch.features, other.features)


@pytest.mark.parametrize("causal", [False, True])
def test_seed_and_epoch_decide_the_augmentation(settings, prepare, causal):
    trainer = prepare(settings(model={"causal": causal}, seed=3)).trainer
    trainer.progress.epoch = 2
    plan = trainer.plan.begin(2)[0]
    draw = trainer.plan.split, plan, trainer.config.augmentation, 3, 2
    of_teacher = trainer.pipeline.variant(False, trainer.source.leading_hand)
    for batch, own, teachers in zip(
        trainer.batches(plan),
        trainer.pipeline.augmented_batches(*draw),
        of_teacher.augmented_batches(*draw),
        strict=True,
    ):
        assert torch.equal(batch.features, own.features)
        predicted = trainer.source.model(teachers.features, teachers.lengths, teachers.detected)
        assert torch.equal(batch.teacher_log_probs, predicted.log_probs)


def test_a_student_of_other_glosses_than_the_teachers_is_refused(finished_run, tiny_corpus):
    """So a student cannot be fine-tuned with a teacher of another vocabulary."""
    teacher = OnlineTeacher(finished_run / "best_model.pth")
    teacher.check(Corpus(tiny_corpus), teacher.vocabulary)
    message = r"the student's 5 glosses differ from the 5 of the teacher .*best_model\.pth"
    with pytest.raises(DataError, match=message):
        teacher.check(Corpus(tiny_corpus), Vocabulary(teacher.vocabulary.glosses[::-1]))


def test_a_student_of_fewer_landmarks_leaves_the_teacher_all_of_its_own(settings, prepare):
    few = {"pose_subset": "arms", "face_subset": "mouth"}
    trainers = [prepare(settings(model=model)).trainer for model in (few, {})]
    plan = trainers[0].plan.begin(1)[0]
    for batch, other in zip(*(each.batches(plan) for each in trainers), strict=True):
        assert torch.allclose(batch.teacher_log_probs, other.teacher_log_probs, atol=1e-5)


def test_a_teacher_of_landmarks_of_another_extractor_is_reported(
    settings, prepare, run_copy, make_corpus, tmp_path, capsys
):
    checkpoint = load_checkpoint(run_copy / "best_model.pth")
    del checkpoint["format_version"]
    checkpoint["corpus"]["extractor"] = {"name": "Holistic", "model_complexity": 1}
    save_checkpoint(run_copy / "best_model.pth", checkpoint)
    other = make_corpus(
        tmp_path / "other",
        {"train": ["HOUSE RAIN SUN"], "dev": ["SUN RAIN"]},
        made_by={"extractor": {"name": "Holistic", "model_complexity": 2}},
    )
    teacher = {"teacher": str(run_copy / "best_model.pth")}
    prepare(settings(distillation=teacher, data_dir=str(other)))
    expected = "other has landmarks of Holistic with model complexity 2, but the model was trained"
    assert expected in capsys.readouterr().out


def test_a_teacher_with_the_earlier_rule_for_the_leading_hand_keeps_it(
    settings, prepare, monkeypatch
):
    """The student mirrors by the rule of today, its teacher by the one that it was trained with."""
    trainer = prepare(settings()).trainer
    plan, rules = trainer.plan.begin(1)[0], []
    monkeypatch.setattr(
        "data.features.left_hand_higher_and_moving",
        lambda body, inside, selection: torch.ones(len(body), dtype=torch.bool),
    )
    same = [batch.teacher_log_probs for batch in trainer.batches(plan)]
    trainer.source.leading_hand = BY_SENTENCE
    for batch, log_probs in zip(trainer.batches(plan), same, strict=True):
        rules.append(torch.equal(batch.teacher_log_probs, log_probs))
        (own,) = trainer.pipeline.augmented_batches(
            trainer.plan.split, [batch.indices], trainer.config.augmentation, 0, 1
        )
        assert torch.equal(batch.features, own.features)
    assert rules == [False] * len(plan), "here the earlier rule mirrors every sentence"


def test_the_teacher_of_a_causal_student_uses_resident_landmarks(settings, prepare, monkeypatch):
    trainer = prepare(settings(model={"causal": True})).trainer
    plan = trainer.plan.begin(1)[0]
    expected = [batch.teacher_log_probs for batch in trainer.batches(plan)]
    trainer.pipeline.resident = [
        CachedSplit(trainer.train.split, torch.device("cpu"), trainer.pipeline.selection)
    ]
    monkeypatch.setattr("data.pipeline.load_batch", None)
    for batch, log_probs in zip(trainer.batches(plan), expected, strict=True):
        assert torch.equal(batch.teacher_log_probs, log_probs)


@pytest.mark.parametrize("views", [0, 2])
def test_stored_targets_belong_to_the_students_batch(
    settings, prepare, stored, load_teacher, views
):
    """In each epoch's view the teacher, run on the student's features, gives what was stored."""
    trainer = prepare(settings(distillation={"soft_targets": str(stored(views))})).trainer
    teacher = load_teacher(trainer.pipeline.selection)
    lengths = []
    for epoch in (1, 2, 3):
        trainer.progress.epoch = epoch
        batch = next(iter(trainer.batches(trainer.plan.begin(1)[0])))
        predicted = teacher(batch.features, batch.lengths, batch.detected).log_probs
        expected = (predicted / 2).log_softmax(-1)
        for row, steps in enumerate(-(-batch.lengths // 4)):
            found = batch.teacher_log_probs[row, :steps] / 2
            assert torch.allclose(found, expected[row, :steps], atol=0.02)
        augmented = trainer.plan.augmented_lengths(trainer.plan.split, epoch)[batch.indices]
        assert batch.lengths.tolist() == augmented.tolist()
        lengths.append(batch.lengths.tolist())
    assert lengths[0] == lengths[2], "the epochs repeat the views"
    assert (lengths[0] == lengths[1]) == (views == 0)


@pytest.mark.parametrize("older", [False, True])
def test_a_corpus_of_another_frame_rate_than_the_teachers_is_refused(
    settings, prepare, run_copy, tiny_corpus, tmp_path, older
):
    """An older checkpoint does not store its rate: the corpus that it was trained on gives it."""
    resample_corpus(tiny_corpus, tmp_path / "fast", 50)
    teacher = load_checkpoint(run_copy / "best_model.pth")
    if older:
        del teacher["corpus"]["fps"]
    save_checkpoint(run_copy / "best_model.pth", teacher)
    with pytest.raises(DataError, match=r"fast has 50 frames/s, but .*best_model\.pth was trained"):
        prepare(
            settings(
                data_dir=str(tmp_path / "fast"),
                distillation={"teacher": str(run_copy / "best_model.pth")},
            )
        )


@pytest.mark.parametrize(("views", "expected"), [(2, [1, 2, 1, 2, 1]), (0, [0, 0, 0, 0, 0])])
def test_the_epochs_use_the_views_in_turn(stored, views, expected):
    teacher = StoredTeacher(stored(views))
    assert [teacher.draw_key(epoch) for epoch in range(1, 6)] == [
        (7 if views else 0, view) for view in expected
    ]


def test_every_view_of_every_train_sentence_must_be_stored(settings, prepare, stored):
    trainer = prepare(settings(distillation={"soft_targets": str(stored(2))})).trainer
    source = trainer.source
    source.check(trainer.corpus, trainer.vocabulary)
    _, places = source.targets._splits["train"]
    del places[trainer.train.split.sentences[-1].id, 2]
    with pytest.raises(DataError, match=r"no view 2 of train sentence train-11"):
        source.check(trainer.corpus, trainer.vocabulary)


def test_stored_targets_exclude_joined_sentences(settings, prepare, stored):
    trainer = prepare(settings(distillation={"soft_targets": str(stored(2))})).trainer
    assert trainer.source.description.augmentation["mix"] > 0
    assert trainer.config.augmentation.mix == 0


@pytest.mark.parametrize("change", [lambda row: row[1:], lambda row: torch.cat([row, row[:1]])])
def test_targets_of_another_length_than_the_sentence_are_refused(settings, prepare, stored, change):
    trainer = prepare(settings(distillation={"soft_targets": str(stored(0))})).trainer
    targets = trainer.source.targets
    read = targets.read
    targets.read = lambda *place: change(read(*place))
    with pytest.raises(DataError, match=r"sentence train-\d+ has \d+ steps, its soft targets have"):
        next(iter(trainer.batches(trainer.plan.begin(1)[0])))
