"""The simulated signer, who signs the built-in corpus and rehearsals of real corpora.

corpora       write a corpus of simulated sentences
grammar       the glosses and sentences of the built-in corpus
lexicon       a sign for each gloss, drawn from a phonology
body          one signer: build and habits, hands, arms and face
motion        a gloss sentence → planned postures, one per frame
posture       the columns of a planned posture
embodiment    planned postures → a moving body
detection     a moving body → landmarks as MediaPipe Holistic would detect them
time_series   noise, smoothing and reproducible sums over frames
"""
