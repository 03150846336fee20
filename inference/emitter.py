"""The hypotheses of overlapping windows, joined: every gloss is emitted once and never taken back.

The model transcribes each window as if it were a whole recording. A gloss near the window's end may
still change when the model sees more. Therefore only glosses that end some time before the window's
end are emitted. The next window contains most of these glosses again, sometimes a few steps earlier
or later. The last emitted gloss is found there by its name and time. All glosses up to it are
skipped.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

from decoding.timed_gloss import TimedGloss

# Seconds by which two windows may place the same gloss differently.
DRIFT = 0.4


class Emitter:
    """Remembers the last emitted gloss and the time up to which the transcript is final.

    Its memory does not grow with the recording.
    """

    def __init__(self) -> None:
        self._last: TimedGloss | None = None
        self._final_until = -math.inf

    def emit(self, glosses: Sequence[TimedGloss], stable_until: float) -> list[TimedGloss]:
        """The glosses of the next window that are emitted now.

        Starts and ends of emitted glosses never go back in time.

        Args:
            glosses: the window's hypothesis, with times in seconds of the recording.
            stable_until: seconds, never less than before; glosses that end later may still change.
                Infinity for the last window.
        """
        emitted = []
        for gloss in glosses[self._first_new(glosses) :]:
            if gloss.end > stable_until:
                break
            # The window before saw more of this place and found no gloss there.
            if gloss.end <= self._final_until - DRIFT:
                continue
            if self._last is not None and gloss.start < self._last.end:
                gloss = replace(gloss, start=self._last.end)
            if gloss.end > gloss.start:
                emitted.append(gloss)
                self._last = gloss
        self._final_until = stable_until
        return emitted

    def _first_new(self, glosses: Sequence[TimedGloss]) -> int:
        """Index of the first gloss after the last emitted one."""
        last = self._last
        if last is None:
            return 0
        same = [
            index
            for index, gloss in enumerate(glosses)
            if gloss.gloss == last.gloss
            and gloss.start < last.end + DRIFT
            and gloss.end > last.start - DRIFT
        ]
        if same:
            return min(same, key=lambda index: abs(glosses[index].middle - last.middle)) + 1
        return next(
            (index for index, gloss in enumerate(glosses) if gloss.middle > last.end), len(glosses)
        )
