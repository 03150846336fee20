"""A gloss with its times and its confidence. No torch in here."""

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class TimedGloss:
    """One gloss of a hypothesis.

    start, end: seconds from the beginning of the recording.
    confidence: 0 to 1, the mean probability of the gloss over its steps.
    """

    gloss: str
    start: float
    end: float
    confidence: float

    @property
    def middle(self) -> float:
        """Seconds, halfway between start and end."""
        return (self.start + self.end) / 2

    def moved(self, seconds: float) -> "TimedGloss":
        """The same gloss, later by `seconds`."""
        return replace(self, start=self.start + seconds, end=self.end + seconds)
