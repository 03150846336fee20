"""Which sentences an epoch trains on, in which batches, and which batches make one update.

Everything is keyed by (seed, epoch, sentence id), so that a continued run repeats it.
"""

from collections.abc import Callable

import numpy as np

from data.augmentation import augmented_frames
from data.batching import plan_by_frames, plan_epoch
from data.ctc_lengths import min_frames
from data.ctc_targets import PreparedSplit, prepare_split
from data.sentence_mixing import mix_sentences
from data.vocabulary import Vocabulary
from training.config import Config
from training.optimizer import learning_rate

Groups = list[list[np.ndarray]]  # for each update its batches, each the indices of its sentences


class EpochPlan:
    """Plans the epochs of one run.

    Attributes:
        split: the train split of the epoch under way; with `augmentation.mix`, other sentences are
            joined to some of its sentences.
        updates: updates of the epoch under way.
        updates_per_epoch: updates of the first epoch. The learning rate schedule uses this number
            for every epoch. (With a frame budget, the number of batches differs between epochs.)
        trainable: indices of the sentences that have a CTC loss.
    """

    def __init__(
        self,
        config: Config,
        train: PreparedSplit,
        vocabulary: Vocabulary,
        draw_key: Callable[[int], tuple[int, int]],
    ):
        """draw_key: seed and epoch from which the augmentation of an epoch is drawn."""
        self._config, self._train, self._vocabulary = config, train, vocabulary
        self._draw_key = draw_key
        self.split = train
        self.trainable = train.trainable
        self.updates_per_epoch = self.updates = len(self._groups(train, 1))
        self._warn_of_long_sentences()

    def _warn_of_long_sentences(self) -> None:
        budget = self._config.training.frames_per_batch
        longer = int((self.augmented_lengths(self._train, 1) > budget).sum()) if budget else 0
        if longer:
            print(
                f"{longer} sentences are longer than --frames_per_batch {budget}: each of them is "
                "a batch by itself"
            )

    def begin(self, epoch: int) -> Groups:
        """Draw the epoch's train split. Returns its batches, grouped by update; the last group may
        be shorter."""
        augmentation, seed = self._config.augmentation, self._config.training.seed
        if augmentation.enabled and augmentation.mix:
            split = mix_sentences(
                self._train.split, self.trainable, augmentation.mix, seed, epoch, min_frames
            )
            self.split = prepare_split(split, self._vocabulary)
        groups = self._groups(self.split, epoch)
        self.updates = len(groups)
        return groups

    def _groups(self, train: PreparedSplit, epoch: int) -> Groups:
        options, lengths = self._config.training, self.augmented_lengths(train, epoch)
        if options.frames_per_batch:
            batches = plan_by_frames(lengths, options.frames_per_batch, options.seed, epoch)
        else:
            batches = plan_epoch(lengths, options.batch_size, options.seed, epoch)
        batches = [self.trainable[batch] for batch in batches]
        size = options.accumulation_steps
        return [batches[start : start + size] for start in range(0, len(batches), size)]

    def augmented_lengths(self, train: PreparedSplit, epoch: int) -> np.ndarray:
        """Frames of each trainable sentence after the epoch's augmentation, int64."""
        config, (seed, drawn) = self._config.augmentation, self._draw_key(epoch)
        sentences = [train.split.sentences[index] for index in self.trainable]
        frames = [
            augmented_frames(config, seed, drawn, one.id, one.frames, min_frames(one.glosses))
            for one in sentences
        ]
        return np.array(frames, dtype=np.int64)

    def step(self, epoch: int, group: int) -> float:
        """The step of the learning rate schedule at which an update is made.

        It can be a fraction, if the epoch has another number of updates than the first epoch.
        Skipped updates count, so that they do not shift the schedule.
        """
        return (epoch - 1) * self.updates_per_epoch + group * self.updates_per_epoch / self.updates

    def learning_rate(self, step: float) -> float:
        """The learning rate at a place on the schedule."""
        options = self._config.training
        return learning_rate(
            step,
            peak=options.learning_rate,
            minimum=options.min_learning_rate,
            warmup_steps=round(options.warmup_epochs * self.updates_per_epoch),
            total_steps=options.epochs * self.updates_per_epoch,
        )
