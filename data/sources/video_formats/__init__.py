"""What a video file says beside its pictures.

completeness     whether a file is shorter than it says
matroska         the length of an .mkv or .webm file by its own account
riff             the length of an .avi file by its own account
asf              the length of a .wmv file by its own account
frame_times      when the frames of a video are shown
hidden_pictures  packets of VP8 and VP9 that show no picture
orientation      turns and mirror images of phones
"""
