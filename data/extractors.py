"""Which program found the landmarks of a corpus, and the warning where two of them are mixed.

`corpus.json` stores the extractor under `made_by`, and a checkpoint under `corpus`. Corpora from
imported landmarks have none: then nothing is known and nothing is warned of.
"""

from collections.abc import Mapping
from typing import Any

from data.corpus import Corpus, history

# What makes two extractors different. Versions of MediaPipe with the same models do not.
_IDENTITY = ("name", "model_complexity", "model_sha256")


def extractor_of(facts: Mapping[str, Any]) -> dict[str, Any] | None:
    """The extractor in the facts of corpus.json, or None. A corpus that was made from another one
    (split, resample, compose) has the extractor of that one."""
    found = (made_by.get("extractor") for made_by in history(facts))
    return next((dict(one) for one in found if isinstance(one, dict)), None)


def mixing_warning(trained_on: object, used: object, where: str) -> str | None:
    """One line when a model meets landmarks of another extractor than it was trained on.

    Args:
        trained_on, used: extractors, as `extractor_of` returns them.
        where: what has the landmarks of `used`, such as the path of a corpus.

    Returns None if they are the same, or if one of them is not known.
    """
    if not isinstance(trained_on, dict) or not isinstance(used, dict):
        return None
    if all(trained_on.get(name) == used.get(name) for name in _IDENTITY):
        return None
    return (
        f"warning: {where} has landmarks of {in_words(used)}, but the model was trained on those "
        f"of {in_words(trained_on)}: they differ (docs/data.md, The extractor), so its WER can be "
        "higher"
    )


def warn_of_other_extractor(checkpoint: Mapping[str, Any], corpus: Corpus) -> None:
    """Print the warning when a checkpoint's model meets a corpus of another extractor."""
    warning = mixing_warning(
        checkpoint["corpus"].get("extractor"), extractor_of(corpus.facts), str(corpus.path)
    )
    if warning is not None:
        print(warning)


def in_words(extractor: Mapping[str, Any]) -> str:
    """The extractor as a message names it."""
    name = str(extractor.get("name", "an unnamed extractor"))
    if "model_sha256" in extractor:
        return f"{name} with the model file {str(extractor['model_sha256'])[:12]}"
    if "model_complexity" in extractor:
        return f"{name} with model complexity {extractor['model_complexity']}"
    return name
