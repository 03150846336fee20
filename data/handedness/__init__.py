"""Which hand leads a sentence. Sentences in which the left hand leads are mirrored.

leading_hand_rules   the names of the rules (no numpy)
leading_hand         the evidence in a sentence, and the decision
signer_votes         the votes of a signer's sentences
"""
