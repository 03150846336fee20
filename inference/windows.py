"""How a recording is cut into overlapping windows: the settings and their defaults.

No torch in here, so that `transcribe.py --help` is fast.
"""

from dataclasses import dataclass

# Seconds. Of the settings that benchmarks/online.py compares, these are within a few glosses of the
# best WER, with little more than a second of latency.
WINDOW, OVERLAP, LOOKAHEAD = 6.0, 5.0, 0.5
# Seconds by which the overlap should be longer than the lookahead: about a long gloss
SAFE_MARGIN = 1.5
# Seconds. A recording up to this length is transcribed as a whole. The sentences of training
# corpora are shorter.
WHOLE_RECORDING = 20.0


@dataclass(frozen=True)
class Windows:
    """All durations are in seconds.

    Args:
        length: of a window.
        overlap: of each window with the next one.
        lookahead: a gloss is emitted when the model has seen this much after its end.
        whole_up_to: a recording up to this length is transcribed as a whole; 0: a recording that
            fits into one window.
        live: do not wait until the first window is full; transcribe after each hop what is there.
            `whole_up_to` then has no effect.
    """

    length: float
    overlap: float
    lookahead: float
    whole_up_to: float = 0.0
    live: bool = False

    @property
    def online(self) -> bool:
        """Whether glosses are emitted while the recording still runs, however short it is."""
        return self.live or not self.whole_up_to

    def warning(self) -> str | None:
        """What a short overlap can cost, in words; None for a safe one."""
        safe = self.lookahead + SAFE_MARGIN
        if self.overlap >= safe:
            return None
        return (
            f"--overlap {self.overlap:g} is less than --lookahead + {SAFE_MARGIN:g} s: in windows, "
            "a gloss that is followed by the same gloss can be lost; give at least "
            f"--overlap {safe:g}"
        )
