"""Annotation files: sentences with their glosses.

transcripts       annotation files of known corpora → sentences, by split
tables            read a table of text: encoding, separator, quotes, header, rows
segments          the part of a recording that belongs to a sentence
segment_overlaps  segments of one recording that share frames
gloss_warnings    glosses that look like a mistake of the table
phoenix_cleanup   the official clean-up of RWTH-PHOENIX-Weather 2014
"""
