"""Augmentation of train sentences.

config            ranges of the augmentation, and whether it is on
draws             the random numbers of each sentence, by seed, epoch and id
augmenter         apply them to a batch, on the device
sentence_mixing   join a sentence with another one of the same signer
sentence_splicing make a sentence of runs of glosses from sentences of one signer
joined_split      a split with sentences that are joined from others
transitions       movements between two recordings, and recordings at another speed
"""
