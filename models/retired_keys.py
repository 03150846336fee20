"""Settings that earlier versions had, or did not have. Their checkpoints stay readable."""

from pathlib import Path
from typing import Any

from errors import DataError

# Section and key, and the value without an effect.
RETIRED: dict[tuple[str, str], object] = {
    ("model", "part_encoder"): "linear",
    ("training", "consistency_weight"): 0.0,
}
# Section and key of later settings, and what earlier versions did. A default may then be better.
BEFORE: dict[tuple[str, str], object] = {
    ("model", "leading_hand"): "sentence",
    ("training", "flat_start_epochs"): 0.0,
}


def without_retired_keys(config: dict[str, Any], path: Path | str) -> dict[str, Any]:
    """The `config` of a checkpoint without the keys that this version no longer has, and with the
    keys of `BEFORE` that its version did not have.

    Raises DataError, with the path of the checkpoint, where such a key had an effect.
    """
    kept = {
        section: dict(keys) if isinstance(keys, dict) else keys for section, keys in config.items()
    }
    for (section, key), without_effect in RETIRED.items():
        keys = kept.get(section)
        if isinstance(keys, dict) and keys.pop(key, without_effect) != without_effect:
            raise DataError(
                f"checkpoint {path} was trained with {section}.{key}, which this version no longer "
                "has: use the version that trained it"
            )
    for (section, key), before in BEFORE.items():
        keys = kept.setdefault(section, {})
        if isinstance(keys, dict):
            keys.setdefault(key, before)
    return kept
