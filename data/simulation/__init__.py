"""The simulated signer, who signs the built-in corpus and rehearsals of real corpora.
Files: docs/code_map.md.
"""
