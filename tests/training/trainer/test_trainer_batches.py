"""How an epoch is cut into batches and updates."""

import numpy as np

import training.trainer
from data.ctc_targets import pad_targets
from decoding.scoring import Score
from tests.training.conftest import prepare_trainer, run_update
from training.stop_signals import StopSignals


def test_one_update_per_accumulation_group_and_a_short_group_at_the_end(tiny_settings):
    for batch_size, accumulation, sizes in (
        (5, 2, [[5, 5], [2]]),
        (4, 2, [[4, 4], [4]]),
        (12, 3, [[12]]),
    ):
        trainer = prepare_trainer(
            tiny_settings, batch_size=batch_size, accumulation_steps=accumulation
        )
        assert [[len(batch) for batch in group] for group in trainer.plan.begin(1)] == sizes
        assert trainer.plan.updates_per_epoch == len(sizes)
        indices = sorted(
            index for group in trainer.plan.begin(3) for batch in group for index in batch.tolist()
        )
        assert indices == list(range(12))


def test_batches_fill_a_frame_budget_with_the_lengths_after_augmentation(tiny_settings, capsys):
    trainer = prepare_trainer(tiny_settings, frames_per_batch=120, accumulation_steps=2)
    assert "longer than --frames_per_batch" not in capsys.readouterr().out
    counts = set()
    for epoch in range(1, 9):
        groups = trainer.plan.begin(epoch)
        counts.add(len(groups))
        assert trainer.plan.updates == len(groups) and all(len(group) == 2 for group in groups[:-1])
        plan = [batch for group in groups for batch in group]
        assert sorted(index for batch in plan for index in batch) == list(range(12))
        trainer.progress.epoch = epoch
        for batch in trainer.batches(plan):
            assert batch.features.shape[0] * batch.features.shape[1] <= 120
            shown = trainer.plan.augmented_lengths(trainer.plan.split, epoch)[batch.indices]
            assert batch.lengths.tolist() == shown.tolist(), (
                "planned with the lengths after augmentation"
            )
    assert len(counts) > 1, "the number of updates differs between epochs"


def test_a_sentence_over_the_frame_budget_is_a_batch_of_its_own_and_is_reported(
    tiny_settings, capsys
):
    trainer = prepare_trainer(tiny_settings, frames_per_batch=1, accumulation_steps=1)
    assert "12 sentences longer than --frames_per_batch 1: a batch each" in capsys.readouterr().out
    assert [[len(batch) for batch in group] for group in trainer.plan.begin(1)] == [[1]] * 12


def test_joined_sentences_are_trained_with_the_glosses_of_both(
    tiny_settings, make_corpus, tmp_path, monkeypatch
):
    corpus = make_corpus(
        tmp_path / "corpus",
        {"train": [*["SUN", "RAIN"] * 3, "SUN RAIN WIND HOUSE SUN"], "dev": ["SUN"]},
    )
    tiny_settings["augmentation"] = {"mix": 1.0}
    trainer = prepare_trainer(tiny_settings, data_dir=str(corpus), batch_size=7, part_mask=0.0)
    ((plan,),) = trainer.plan.begin(1)
    known, alone = trainer.plan.split.split, trainer.train.split
    (joined, *_) = np.flatnonzero(known.partners >= 0)
    expected = alone.sentences[joined].glosses + alone.sentences[known.partners[joined]].glosses
    (batch,) = trainer.batches([plan])
    asked = []

    def noted(targets, device):
        asked.extend(targets)
        return pad_targets(targets, device)

    monkeypatch.setattr(training.trainer, "pad_targets", noted)
    run_update(trainer, [batch])
    row = batch.indices.tolist().index(joined)
    assert tuple(trainer.vocabulary.decode(asked[row])) == expected
    references = []
    monkeypatch.setattr(
        training.trainer,
        "score",
        lambda glosses, _: references.extend(glosses) or Score(0, 0, 0, 1, 1),
    )
    trainer._finish_epoch(StopSignals())
    assert references[joined] == expected, "the train WER is that of the joined sentence"
