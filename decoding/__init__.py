"""From CTC log-probabilities to glosses, and scoring. Decoding knows only log-probabilities and a
vocabulary, no model and no corpus.

    decoders              name -> decoder; the decoder settings that a checkpoint holds
    batches               decode the sentences of a split while their log-probabilities come
    greedy                best class of each step, repeats merged, blanks removed
    beam_search           CTC prefix beam search of a whole batch
    length_normalization  the adaptive decoder: compares hypotheses of different lengths; its tuning
    closed_set            the most probable sentence of a list, by exact CTC probabilities
    language_model        bigram model of glosses (Kneser-Ney); ARPA files
    alignment             CTC alignment: when each gloss begins and ends
    timed_gloss           a gloss with its times and confidence (no torch)
    scoring               word error rate, its interval and its breakdown (no torch)
    novelty               errors on known and on new sentences, pairs and glosses (no torch)
    sclite                files for NIST's sclite: ctm and stm (no torch)
"""

# Names that `make_decoder` accepts. The open ones can output every sequence of glosses.
OPEN_DECODERS = ("greedy", "adaptive", "beam")
DECODERS = (*OPEN_DECODERS, "closed")
