"""A checkpoint's model together with a corpus: predicts the splits and makes the decoders."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from data.checks.changed_files import warn_of_changed_files
from data.corpus import Corpus, describe_corpus
from data.ctc_targets import PreparedSplit, prepare_split
from data.extractors import warn_of_other_extractor
from data.pipeline import FeaturePipeline
from data.vocabulary import Vocabulary
from decoding.batches import Decoder
from decoding.closed_set import ClosedSet
from decoding.decoders import describe_decoder, make_decoder, read_decoder_entry
from decoding.language_model import LanguageModel, read_arpa, train_language_model_if_small
from decoding.length_normalization import tune
from decoding.novelty import TrainText
from errors import DataError
from inference.opened_checkpoint import (
    open_checkpoint,
    other_corpus_in_place,
    refuse_corpus_of_other_rate,
)
from inference.posteriors import sentence_posteriors, split_posteriors
from inference.sentence_lists import open_closed_set, train_text
from models.build import is_causal, leading_hand_rule
from models.devices import Precision
from models.machine_choices import MachineChoices
from models.part_encoder import PartEncoderModel

# Weight and gloss bonus for a beam search with a language model that was not tuned on dev. Chosen
# by hand on the dev split of one weak model: a starting point for other models, not a tuned value.
# --decoder adaptive tunes its own on dev.
_LM_WEIGHT, _LM_BONUS = 0.25, 1.5


@dataclass(frozen=True)
class ModelOnCorpus:
    """The model of a checkpoint, in evaluation mode, and the corpus that it predicts.

    It computes in fp32, whatever precision it was trained in: an evaluation then needs no special
    hardware, and the WER does not depend on it. `checkpoint` is the content as `load_checkpoint`
    returns it.
    """

    checkpoint: dict[str, Any]
    vocabulary: Vocabulary
    corpus: Corpus
    model: PartEncoderModel
    device: torch.device
    machine: MachineChoices

    @property
    def is_corpus_of_training(self) -> bool:
        """Whether the model was trained on this corpus, wherever its folder is."""
        known: str = self.checkpoint["corpus"]["fingerprint"]
        return self.corpus.fingerprint == known

    @property
    def trained_on(self) -> str:
        """The corpus that the model was trained on, in words; it says so if that is simulated."""
        corpus = self.checkpoint["corpus"]
        return describe_corpus(corpus["name"], corpus["simulated"], corpus["composed"])

    def prepared(self, split: str) -> PreparedSplit:
        """The split with its CTC targets in the checkpoint's vocabulary. Raises DataError if the
        corpus has no such split."""
        return prepare_split(self.corpus.split(split), self.vocabulary)

    def posteriors(self, split: str) -> Iterator[tuple[int, Tensor]]:
        """Index and log-probabilities float32 (T', V) of each sentence of the split, on the CPU,
        the shortest first; see `split_posteriors`. They are computed at each call.

        Raises DataError if some are not finite.
        """
        return split_posteriors(
            self.model, self.pipeline, self.corpus.split(split), self._precision
        )

    def posteriors_of(self, split: str, index: int) -> Tensor:
        """Log-probabilities float32 (T', V) of one sentence of the split, on the CPU."""
        return sentence_posteriors(
            self.model, self.pipeline, self.corpus.split(split), self._precision, index
        )

    @cached_property
    def pipeline(self) -> FeaturePipeline:
        """Makes the features of the model."""
        return FeaturePipeline(
            self.corpus.aspect_ratio,
            self.device,
            is_causal(self.model.config),
            leading_hand=leading_hand_rule(self.model.config),
        )

    @cached_property
    def _precision(self) -> Precision:
        return Precision("fp32", self.device)

    def closed_set(self, name: str | None) -> ClosedSet:
        """The list of the closed decoder: the path of a text file; None or 'train' for the train
        split of the corpus. Raises DataError."""
        return open_closed_set(name, self.corpus, self.vocabulary)

    def train_text(
        self, clean_up: Callable[[Sequence[str]], Sequence[str]] = tuple
    ) -> TrainText | None:
        """The sentences that the model was trained on, each cleaned up; None, with a note, if they
        are not here."""
        return train_text(self.checkpoint, self.corpus, clean_up)

    def make_or_tune_decoder(
        self, name: str, language_model_name: str | None, closed_set: ClosedSet | None = None
    ) -> tuple[Decoder, str]:
        """A decoder, and its settings in words.

        `adaptive` uses the checkpoint's settings. Without any, or with another language model, it
        tunes them on dev.

        Args:
            name: 'greedy', 'adaptive', 'beam' or 'closed'.
            language_model_name: 'none', 'train' (bigrams of the corpus's train split), the path of
                an ARPA file, or None for the checkpoint's own language model, if it has one.
            closed_set: of the decoder 'closed', which uses nothing else.

        Raises DataError if the decoder must be tuned on dev, and dev has no glosses.
        """
        if closed_set is not None:
            return closed_set.decode, self.model.prediction.named_beside(str(closed_set))
        settings, language_model, tuned_on = read_decoder_entry(self.checkpoint["decoder"])
        if language_model_name is not None:
            language_model = _language_model(language_model_name, self.corpus, self.vocabulary)
        if name == "adaptive" and (tuned_on is None or language_model_name is not None):
            self._refuse_to_tune_without_dev(tuned_on)
            settings = tune(
                self.posteriors("dev"),
                self.prepared("dev").references,
                self.vocabulary,
                settings.steps_per_gloss,
                language_model,
            )
            tuned_on = f"dev of {self.corpus.name}, now"
        elif language_model is not None and not settings.lm_weight:
            settings = replace(settings, lm_weight=_LM_WEIGHT, gloss_bonus=_LM_BONUS)
            tuned_on = None
        described = describe_decoder(name, settings, language_model, tuned_on)
        return (
            make_decoder(name, settings, language_model),
            self.model.prediction.named_beside(described),
        )

    def _refuse_to_tune_without_dev(self, tuned_on: str | None) -> None:
        """tuned_on: the split that the checkpoint's decoder was tuned on."""
        dev = self.corpus.splits.get("dev")
        if dev is None or not any(sentence.glosses for sentence in dev.sentences):
            other = "give --decoder greedy" if tuned_on is None else "leave --lm out"
            raise DataError(
                f"the adaptive decoder must be tuned on dev first, and {self.corpus.path} has no "
                f"dev sentences with glosses: {other}, or give a corpus with dev"
            )


def open_model_on_corpus(
    path: Path, data_dir: str | None, device: str, refuse_other: bool = False
) -> ModelOnCorpus:
    """Load a checkpoint and open a corpus.

    Args:
        data_dir: corpus folder; None for the corpus that the checkpoint was trained on.
        device: 'auto', 'cpu', 'cuda' or 'cuda:N'.
        refuse_other: with None, refuse another corpus that is in the folder of that corpus now.
            Without it, print a warning.

    Raises UsageError and DataError.
    """
    opened = open_checkpoint(path, device)
    if data_dir:
        corpus = Corpus(data_dir)
        warn_of_changed_files(corpus)
    else:
        corpus = _corpus_of_checkpoint(opened.content, path, refuse_other)
    refuse_corpus_of_other_rate(corpus, opened.content, path)
    warn_of_other_extractor(opened.content, corpus)
    return ModelOnCorpus(
        opened.content, opened.vocabulary, corpus, opened.model, opened.device, opened.machine
    )


def _corpus_of_checkpoint(checkpoint: dict[str, Any], path: Path, refuse_other: bool) -> Corpus:
    """The corpus in the folder that a checkpoint names, see `open_model_on_corpus`."""
    data_dir = checkpoint["corpus"]["path"]
    if not Path(data_dir).exists():
        raise DataError(
            f"{path} was trained on the corpus {data_dir}, which does not exist here: give its "
            "folder with --data_dir"
        )
    corpus = Corpus(data_dir)
    warn_of_changed_files(corpus)
    if other := other_corpus_in_place(corpus, checkpoint, path):
        if refuse_other:
            raise DataError(other)
        print(f"warning: {other}")
    return corpus


def _language_model(name: str, corpus: Corpus, vocabulary: Vocabulary) -> LanguageModel | None:
    """See `ModelOnCorpus.make_or_tune_decoder` for the names."""
    if name == "none":
        return None
    if name != "train":
        return read_arpa(Path(name), vocabulary)
    sentences = [sentence.glosses for sentence in corpus.split("train").sentences]
    known = [glosses for glosses in sentences if not vocabulary.unknown([glosses])]
    if len(known) < len(sentences):
        left_out = f"{len(sentences) - len(known)} of {len(sentences)} train sentences"
        print(f"language model: {left_out} have glosses outside the vocabulary and are left out")
    return train_language_model_if_small(known, vocabulary)
