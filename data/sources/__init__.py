"""Where corpora come from: videos, landmark files, transcripts, isolated recordings.
Files: docs/code_map.md.

A recording is the video, the folder of video frames or the landmark file of one sentence.
"""
