"""A gloss with its times and how sure the model is of it."""

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class TimedGloss:
    """start and end in seconds of the recording; confidence, 0 to 1: the gloss's mean probability
    over its steps."""

    gloss: str
    start: float
    end: float
    confidence: float

    @property
    def middle(self) -> float:
        return (self.start + self.end) / 2

    def moved(self, seconds: float) -> "TimedGloss":
        return replace(self, start=self.start + seconds, end=self.end + seconds)
