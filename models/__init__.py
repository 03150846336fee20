"""Recognition models: landmark features in, CTC log-probabilities out. They know no corpus.

The teacher and the student:

    i3d_teacher         the teacher; its file reads from top to bottom like the figure of a paper
    student             the student, a tenth of the teacher's size; its causal variant can stream
    config              sizes of the teacher (no torch, so that command lines start fast)
    student_config      sizes of the student (no torch)

Their layers, in the order in which the teacher uses them:

    part_encoder        features of one body part -> its encoding; what teacher and student share
    fusion              encodings of all parts -> one sequence, with a gate for each part
    temporal_inception  parallel convolutions over time, with max pooling: a quarter of the frames
    conformer           attention and convolution over the steps (the default sequence model)
    bilstm              a bidirectional LSTM (the other sequence model)
    ctc_head            the cosine classifier over blank and glosses

How the layers compute:

    masking             sentence masks, and batch normalisation that ignores padding
    masked_statistics   mean and variance of the frames inside the sentences, also over processes
    masked_normalization  the same normalisation as one function with a written-out gradient
    cpu_kernels         linear layers and dropout that are fast on a CPU
    compilation         the convolutional front through torch.compile
    devices             the device and the number format that a run computes in
    machine_choices     what a run decides by its machine, and keeps

From a file to a model:

    checkpoint          save and load a checkpoint, with its SHA-256
    safe_write          replace a file so that a crash never harms the previous one
    safe_load           open a file of torch.save without trusting it
    build               checkpoint -> teacher or student
    retired_keys        settings of earlier versions, so that their checkpoints load
"""
