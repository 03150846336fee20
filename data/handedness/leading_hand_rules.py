"""Names of the rules that find out which hand leads (leading_hand.py). No numpy in here."""

# signer: the sentences of a known signer vote. sentence: the rule of version 0.2 and earlier.
LEADING_HAND_RULES = BY_SIGNER, BY_SENTENCE = ("signer", "sentence")
