"""Decoders by name, and the decoder settings that a checkpoint holds."""

from dataclasses import asdict

from decoding.batches import Decoder
from decoding.greedy import greedy_decode
from decoding.language_model import LanguageModel
from decoding.length_normalization import LengthNormalization, adaptive_decode
from errors import DataError


def make_decoder(
    name: str, settings: LengthNormalization, language_model: LanguageModel | None = None
) -> Decoder:
    """(log_probs, lengths) -> class indices of each sentence, for 'greedy', 'adaptive' or 'beam'.

    'beam' is the most probable reading of the beam, without any length normalization; where there
    is a language model it weighs in as the settings say, with their gloss bonus, as it would
    otherwise drop glosses.
    """
    if name == "greedy":
        return greedy_decode
    if name == "beam":
        weight, bonus = (
            (settings.lm_weight, settings.gloss_bonus) if language_model is not None else (0.0, 0.0)
        )
        settings = LengthNormalization(
            settings.steps_per_gloss, "beam", 0.0, bonus if weight else 0.0, weight
        )
    return lambda log_probs, lengths: adaptive_decode(log_probs, lengths, settings, language_model)


def decoder_entry(
    settings: LengthNormalization, language_model: LanguageModel | None, tuned_on: str
) -> dict:
    """What a checkpoint holds of a tuned decoder: its settings, where they come from, and the
    language model if it counts."""
    model = vars(language_model) if language_model is not None and settings.lm_weight else None
    return {**asdict(settings), "tuned_on": tuned_on, "language_model": model and dict(model)}


def read_decoder_entry(entry: dict) -> tuple[LengthNormalization, LanguageModel | None, str | None]:
    """Settings, language model and what they were tuned on (None: not tuned) of a checkpoint's
    `decoder` entry."""
    known = dict(entry)
    tuned_on, model = known.pop("tuned_on", None), known.pop("language_model", None)
    try:
        return LengthNormalization(**known), model and LanguageModel(**model), tuned_on
    except TypeError as error:
        raise DataError(
            f"the checkpoint's decoder settings are not those of this version: {error}"
        ) from None


def describe_decoder(
    decoder: str,
    settings: LengthNormalization,
    language_model: LanguageModel | None,
    tuned_on: str | None,
) -> str:
    """The decoder's settings in words, and where they come from."""
    if decoder == "greedy":
        return "greedy"
    if decoder == "beam":
        if language_model is None:
            return "beam, no language model"
        weights = (
            f"language model weight {settings.lm_weight:g}, gloss bonus {settings.gloss_bonus:g}"
        )
        return f"beam, {weights} ({f'tuned on {tuned_on}' if tuned_on else 'default'})"
    return f"{settings} ({f'chosen on {tuned_on}' if tuned_on else 'default'})"
