"""Readers of single published corpora that have a layout of their own.

isharah       Isharah's pickled arrays of 86 points → a corpus
boston104     RWTH-BOSTON-104's tables of hand positions → a corpus
safe_pickle   pickles of arrays and plain containers, without unpickling them
"""
