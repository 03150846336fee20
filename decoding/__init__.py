"""From CTC log-probabilities to glosses, and scoring. Decoding knows only log-probabilities and a
vocabulary, no model and no corpus. Files: docs/code_map.md.
"""

# Names that `make_decoder` accepts. The open ones can output every sequence of glosses.
OPEN_DECODERS = ("greedy", "adaptive", "beam")
DECODERS = (*OPEN_DECODERS, "closed")
