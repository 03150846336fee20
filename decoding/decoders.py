"""Decoders by name, and the decoder settings that a checkpoint holds."""

from dataclasses import asdict
from typing import Any

from decoding.batches import Decoder
from decoding.closed_set import ClosedSet
from decoding.greedy import greedy_decode
from decoding.language_model import LanguageModel
from decoding.length_normalization import LengthNormalization, adaptive_decode
from errors import DataError


def make_decoder(
    name: str,
    settings: LengthNormalization,
    language_model: LanguageModel | None = None,
    closed_set: ClosedSet | None = None,
) -> Decoder:
    """A function from (log_probs (B, T, V), lengths (B,)) to class indices of each sentence.

    Args:
        name: one of `decoding.DECODERS`.
            'greedy': the best class of each step; settings and language model have no effect.
            'adaptive': as the settings say.
            'beam': the most probable hypothesis of a beam search, without length normalization. If
            there is a language model, its weight and the gloss bonus are those of the settings:
            without the bonus a language model drops glosses.
            'closed': the most probable sentence of `closed_set`.
        settings: of the adaptive decoder.
        language_model: of glosses; None: without one.
        closed_set: the list of the decoder 'closed', which needs one.
    """
    if name == "closed":
        assert closed_set is not None, "a closed decoder has a list of sentences"
        return closed_set.decode
    if name == "greedy":
        return greedy_decode
    if name == "beam":
        weight = settings.lm_weight if language_model is not None else 0.0
        bonus = settings.gloss_bonus if weight else 0.0
        settings = LengthNormalization(settings.steps_per_gloss, "beam", 0.0, bonus, weight)
    return lambda log_probs, lengths: adaptive_decode(log_probs, lengths, settings, language_model)


def decoder_entry(
    settings: LengthNormalization, language_model: LanguageModel | None, tuned_on: str
) -> dict[str, Any]:
    """The `decoder` entry of a checkpoint for a tuned decoder: its settings, the language model if
    they give it a weight, and `tuned_on`, the split in words."""
    used = language_model is not None and settings.lm_weight != 0
    tables = dict(vars(language_model)) if used else None
    return {**asdict(settings), "tuned_on": tuned_on, "language_model": tables}


def read_decoder_entry(
    entry: dict[str, Any],
) -> tuple[LengthNormalization, LanguageModel | None, str | None]:
    """The settings, the language model and the split that they were tuned on (None: not tuned) of a
    checkpoint's `decoder` entry. Raises DataError for unknown keys."""
    values = dict(entry)
    if "strength" in values:  # chosen by version 0.2 or earlier, if it does not name its measure
        values.setdefault("measure", "steps")
    tuned_on, tables = values.pop("tuned_on", None), values.pop("language_model", None)
    try:
        language_model = LanguageModel(**tables) if tables else None
        return LengthNormalization(**values), language_model, tuned_on
    except TypeError as error:
        raise DataError(
            f"the checkpoint's decoder settings are not those of this version: {error}"
        ) from None


def describe_decoder(
    name: str,
    settings: LengthNormalization,
    language_model: LanguageModel | None,
    tuned_on: str | None,
) -> str:
    """The settings of the decoder `name` in words, with the split that they were tuned on."""
    if name == "greedy":
        return "greedy"
    if name == "beam":
        if language_model is None:
            return "beam, no language model"
        weights = (
            f"language model weight {settings.lm_weight:g}, gloss bonus {settings.gloss_bonus:g}"
        )
        return f"beam, {weights} ({f'tuned on {tuned_on}' if tuned_on else 'default'})"
    return f"{settings} ({f'chosen on {tuned_on}' if tuned_on else 'default'})"
