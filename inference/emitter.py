"""Readings of overlapping windows made into one: every gloss is emitted once and never taken back.

Each window is read as if it were a whole recording. Near its end a gloss may still change when more
is seen, so only glosses that end a while before it are emitted; what came before that is settled.
The next window sees most of the same glosses again, at places that can differ by a few steps: those
up to the last emitted one are found by its name and place and passed over.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

from decoding.timed_gloss import TimedGloss

# Seconds: a window, its overlap with the next, and what is seen behind a gloss before it is
# emitted. Of the settings that benchmarks/online.py compares these are within a few glosses of the
# best WER, at little more than a second of latency.
WINDOW, OVERLAP, LOOKAHEAD = 6.0, 5.0, 0.5
# Recordings up to so many seconds are read as a whole. Sentences that models are trained on end
# before that, and the adaptive decoder gives at most 50 glosses.
WHOLE_RECORDING = 20.0
# Seconds by which two windows may place one gloss differently.
DRIFT = 0.4


class Emitter:
    """What has been emitted so far, as far as it matters for what comes. Memory does not grow."""

    def __init__(self):
        self._last: TimedGloss | None = None
        self._settled = -math.inf

    def take(self, glosses: Sequence[TimedGloss], stable_until: float) -> list[TimedGloss]:
        """The glosses of the next window's reading, times in seconds of the recording, that are
        emitted now.

        stable_until: glosses that end later may still change; infinity for the last window. Starts
        and ends of what is emitted never go back.
        """
        emitted = []
        for gloss in glosses[self._first_new(glosses) :]:
            if gloss.end > stable_until:
                break
            # The window before saw more around it and did not read it
            if gloss.end <= self._settled - DRIFT:
                continue
            if self._last is not None and gloss.start < self._last.end:
                gloss = replace(gloss, start=self._last.end)
            if gloss.end > gloss.start:
                emitted.append(gloss)
                self._last = gloss
        self._settled = max(self._settled, stable_until)
        return emitted

    def _first_new(self, glosses: Sequence[TimedGloss]) -> int:
        last = self._last
        if last is None:
            return 0
        again = [
            index
            for index, gloss in enumerate(glosses)
            if gloss.gloss == last.gloss
            and gloss.start < last.end + DRIFT
            and gloss.end > last.start - DRIFT
        ]
        if again:
            return min(again, key=lambda index: abs(glosses[index].middle - last.middle)) + 1
        return next(
            (index for index, gloss in enumerate(glosses) if gloss.middle > last.end), len(glosses)
        )
