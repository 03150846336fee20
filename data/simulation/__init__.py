"""The simulated signer, who acts the built-in corpus and rehearsals of real ones."""
