"""Which sentences an epoch trains on, in which batches, and which batches make one update.

Everything is keyed by (seed, epoch, sentence id), so that a continued run repeats it.
"""

import math
from collections.abc import Callable
from functools import cached_property

import numpy as np

from data.augmentation.draws import augmented_lengths
from data.augmentation.joined_split import JoinedSplit
from data.augmentation.sentence_mixing import mix_sentences
from data.augmentation.sentence_splicing import Splicer
from data.batching import plan_by_frames, plan_epoch
from data.corpus import Split
from data.ctc_lengths import frames_of_steps, min_frames
from data.ctc_targets import PreparedSplit
from errors import UsageError, counted
from training.config import Config
from training.optimizer import flat_start_weight, learning_rate

Groups = list[list[np.ndarray]]  # for each update its batches, each the indices of its sentences


class EpochPlan:
    """Plans the epochs of one run.

    Attributes:
        split: the train split of the epoch under way; with `augmentation.splice` and
            `augmentation.mix`, some of its sentences are joined from several.
        updates: updates of the epoch under way.
        updates_per_epoch: updates of the first epoch. The learning rate schedule uses this number
            for every epoch. (With a frame budget, the number of batches differs between epochs.)
        trainable: indices of the sentences that have a CTC loss.
    """

    def __init__(
        self,
        config: Config,
        train: PreparedSplit,
        draw_key: Callable[[int], tuple[int, int]],
        aspect_ratio: float,
    ):
        """
        Args:
            draw_key: seed and epoch from which the augmentation of an epoch is drawn.
            aspect_ratio: image width / height of the corpus.
        """
        self._config, self._train = config, train
        self._draw_key, self._aspect_ratio = draw_key, aspect_ratio
        self._splicer: Splicer | None = None
        self.split = train
        self.trainable = train.trainable
        self._ids = [train.split.sentences[index].id for index in self.trainable]
        # Of each sentence of the split, the fewest frames in which CTC can align its glosses
        self._fewest = frames_of_steps(train.split.required_steps)
        self.updates_per_epoch = self.updates = self._count_updates()
        self._warn_of_unknown_signers()
        if config.augmentation.enabled and config.augmentation.splice:
            self._splicer = self._make_splicer()

    def _count_updates(self) -> int:
        """Updates of the first epoch, without joined sentences. Warn of sentences that are longer
        than a batch."""
        options, count = self._config.training, len(self.trainable)
        if not options.frames_per_batch:  # the lengths do not matter
            return math.ceil(math.ceil(count / options.batch_size) / options.accumulation_steps)
        lengths = self.augmented_lengths(self._train, 1)
        self._warn_of_long_sentences(lengths)
        return len(self._groups(lengths, 1))

    def _warn_of_long_sentences(self, lengths: np.ndarray) -> None:
        budget = self._config.training.frames_per_batch
        longer = int((lengths > budget).sum())
        if longer:
            print(
                f"{counted(longer, 'sentence')} longer than --frames_per_batch {budget}: a batch "
                "each"
            )

    def _warn_of_unknown_signers(self) -> None:
        augmentation, sentences = self._config.augmentation, self._train.split.sentences
        unknown = sum(not sentences[index].signer_is_known for index in self.trainable)
        if unknown and augmentation.enabled and augmentation.mix:
            print(
                f"{unknown} of {len(self.trainable)} train sentences have no known signer in "
                "train.csv: no sentences are joined to them (augmentation.mix)"
            )

    def _make_splicer(self) -> Splicer:
        split, wanted = self._train.split, self._config.augmentation.splice
        if split.times is None:
            raise UsageError(
                f"augmentation.splice {wanted:g}: the corpus does not know when the glosses of "
                f"{split.name} begin and end; make a corpus that does with prepare_data.py align, "
                "or set augmentation.splice to 0"
            )
        splicer = Splicer(split, self.trainable, self._aspect_ratio)
        without = len(self.trainable) - len(splicer.sentences)
        if without:
            print(
                f"{without} of {len(self.trainable)} train sentences have no known signer or no "
                "known gloss times: they are not spliced (augmentation.splice)"
            )
        return splicer

    def begin(self, epoch: int) -> Groups:
        """Draw the epoch's train split. Returns its batches, grouped by update; the last group may
        be shorter."""
        augmentation, seed = self._config.augmentation, self._config.training.seed
        split = self._train.split
        if self._splicer is not None:
            split = self._splicer.splice(augmentation.splice, seed, epoch, min_frames)
        if augmentation.enabled and augmentation.mix:
            split = mix_sentences(
                split,
                self.trainable,
                augmentation.mix,
                seed,
                epoch,
                min_frames,
                self._aspect_ratio,
            )
        self.split = self._with_targets(split)
        groups = self._groups(self.augmented_lengths(self.split, epoch), epoch)
        self.updates = len(groups)
        return groups

    def _groups(self, lengths: np.ndarray, epoch: int) -> Groups:
        options = self._config.training
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
        fewest, split = self._fewest, train.split
        if isinstance(split, JoinedSplit):
            fewest = fewest.copy()
            for index in split.joined:
                fewest[index] = min_frames(split.sentences[index].glosses)
        chosen = self.trainable
        return augmented_lengths(
            config, seed, drawn, self._ids, split.lengths[chosen], fewest[chosen]
        )

    def _with_targets(self, split: Split) -> PreparedSplit:
        """An epoch's split with its CTC targets. Joined sentences have glosses of trainable ones
        alone, and frames enough for them."""
        if not isinstance(split, JoinedSplit):
            return self._train
        targets = list(self._train.targets)
        for index in split.joined:
            targets[index] = [self._classes[gloss] for gloss in split.sentences[index].glosses]
        return PreparedSplit(split, targets, self._train.unknown_glosses)

    @cached_property
    def _classes(self) -> dict[str, int]:
        """The class index of each gloss of the trainable sentences."""
        known = zip(self._train.split.sentences, self._train.targets, strict=True)
        return {
            gloss: index
            for sentence, target in known
            if target is not None
            for gloss, index in zip(sentence.glosses, target, strict=True)
        }

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

    def flat_start(self, epoch: int, group: int) -> float:
        """The weight of the flat start in an update."""
        updates = self._config.training.flat_start_epochs * self.updates_per_epoch
        return flat_start_weight(self.step(epoch, group), updates)
