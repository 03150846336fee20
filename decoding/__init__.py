"""From CTC log-probabilities to gloss indices, and scoring. Knows only log-probabilities and a
vocabulary."""

DECODERS = ("greedy", "adaptive", "beam")
