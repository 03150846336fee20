"""Where corpora come from: videos, landmark files, transcripts, isolated recordings."""
