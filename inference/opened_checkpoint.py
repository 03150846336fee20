"""A checkpoint opened beside a corpus."""

from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import nn
from training.saved_config import read_config

from data.corpus import Corpus
from data.ctc_targets import PreparedSplit, prepare_split
from data.pipeline import FeaturePipeline
from data.vocabulary import Vocabulary
from decoding.batches import Decoder
from decoding.decoders import describe_decoder, make_decoder, read_decoder_entry
from decoding.language_model import LanguageModel, read_arpa, train_language_model
from decoding.length_normalization import tune
from errors import DataError
from inference.posteriors import compute_posteriors
from models.build import is_causal, load_model
from models.checkpoint import load_checkpoint
from models.devices import Precision, choose_device
from training.config import Config
from training.setup import open_corpus

# Weight and gloss bonus of a language model that the beam is given though dev did not choose one.
# Picked by hand on one weak model's dev split: a place to start, not tuned for any other. --decoder
# adaptive chooses its own on dev.
_LM_WEIGHT, _LM_BONUS = 0.25, 1.5


@dataclass(frozen=True)
class CheckpointOnCorpus:
    """A checkpoint's model beside a corpus, computed in fp32, whatever it was trained with: judging
    then needs no hardware of its kind, and the rates do not depend on it. Each split is read once,
    then kept."""

    checkpoint: dict
    vocabulary: Vocabulary
    corpus: Corpus
    model: nn.Module
    device: torch.device
    _posteriors: dict[str, list[torch.Tensor]] = field(default_factory=dict)

    def prepared(self, split: str) -> PreparedSplit:
        return prepare_split(self.corpus.split(split), self.vocabulary)

    def posteriors(self, split: str) -> list[torch.Tensor]:
        """Log-probabilities float32 (T', V) of each sentence of the split, on the CPU."""
        if split not in self._posteriors:
            causal = is_causal(self.model.config)
            pipeline = FeaturePipeline(self.corpus.aspect_ratio, self.device, causal)
            precision = Precision("fp32", self.device)
            self._posteriors[split] = compute_posteriors(
                self.model, pipeline, self.corpus.split(split), precision
            )
        return self._posteriors[split]

    def decoder(self, name: str, language_model_name: str | None) -> tuple[Decoder, str]:
        """What --decoder and --lm ask for, and its settings in words; `adaptive` is tuned on dev
        where it has to be."""
        settings, language_model, tuned_on = read_decoder_entry(self.checkpoint["decoder"])
        if language_model_name is not None:
            language_model = _language_model(language_model_name, self.corpus, self.vocabulary)
        if name == "adaptive" and (tuned_on is None or language_model_name is not None):
            seen, references = self.posteriors("dev"), self.prepared("dev").references
            settings = tune(
                seen, references, self.vocabulary, settings.steps_per_gloss, language_model
            )
            tuned_on = f"dev of {self.corpus.name}, now"
        elif language_model is not None and not settings.lm_weight:
            settings, tuned_on = (
                replace(settings, lm_weight=_LM_WEIGHT, gloss_bonus=_LM_BONUS),
                None,
            )
        return make_decoder(name, settings, language_model), describe_decoder(
            name, settings, language_model, tuned_on
        )


def open_checkpoint(path: Path) -> tuple[dict, Config, Vocabulary]:
    """A checkpoint's content with its configuration and vocabulary. Raises DataError."""
    checkpoint = load_checkpoint(path)
    return checkpoint, read_config(checkpoint, path), Vocabulary(checkpoint["vocabulary"])


def open_checkpoint_on_corpus(path: Path, data_dir: str | None, device: str) -> CheckpointOnCorpus:
    """Load a checkpoint beside the corpus folder, its own where none is given. Raises UsageError
    and DataError."""
    checkpoint, config, vocabulary = open_checkpoint(path)
    if not data_dir:
        data_dir = checkpoint["corpus"]["path"]
        if not Path(data_dir).exists():
            raise DataError(
                f"{path} was trained on the corpus {data_dir}, which does not exist here: say where it is with --data_dir"
            )
    corpus = open_corpus(data_dir)
    chosen = choose_device(device)
    model = load_model(checkpoint, path, config.model, vocabulary, config.training.seed).to(chosen)
    return CheckpointOnCorpus(checkpoint, vocabulary, corpus, model, chosen)


def _language_model(name: str, corpus: Corpus, vocabulary: Vocabulary) -> LanguageModel | None:
    if name == "none":
        return None
    if name != "train":
        return read_arpa(Path(name), vocabulary)
    sentences = [sentence.glosses for sentence in corpus.split("train").sentences]
    known = [glosses for glosses in sentences if not vocabulary.unknown([glosses])]
    if len(known) < len(sentences):
        left_out = f"{len(sentences) - len(known)} of {len(sentences)} train sentences"
        print(f"language model: {left_out} have glosses outside the vocabulary and are left out")
    return train_language_model(known, vocabulary)
