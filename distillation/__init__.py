"""Train a small student with the help of a teacher.

config.py               the settings of a student's run and of an export
teachers.py             who teaches: a teacher run beside the student, or its stored soft targets
student_trainer.py      the trainer with the distillation loss
run.py                  a student's run: open the teacher, check that it fits, train
soft_targets.py         the folder of soft targets: its format, reading and checking it
soft_target_writer.py   write such a folder, sentence by sentence
export.py               run a teacher over a corpus and write its soft targets
saved_config.py         the configuration that a checkpoint was trained with
"""
