"""Landmark corpora and everything between a corpus on disk and the features on the device.

This folder knows no model. Its files:

    landmarks             the 543 landmarks of MediaPipe Holistic: parts, named subsets, selections
    vocabulary            glosses <-> class indices; index 0 is the CTC blank

    corpus                open a corpus folder: memory-mapped landmarks, annotations, corpus.json
    sentences             the rows of a split's csv
    gloss_times           when each gloss of a split begins and ends
    corpus_writer         write a corpus folder
    corpus_check          check a corpus folder for damage and for sentences that CTC cannot align
    folder_memory         what earlier runs found out about the files of a folder
    stored_landmarks      landmarks as 16-bit numbers and back
    text_fields           ids, signers and glosses in one Unicode form
    output_place          find out whether an output can be written; locks of folders
    safe_npy              open .npy files without trusting their headers

    ctc_lengths           frames, output steps, and the fewest steps that CTC needs
    ctc_targets           the annotations of a split as class indices for CTC

    features              landmarks -> the 6516-dim features, in batches, on the device
    resampling            the frame rate of a recording; landmarks at another rate
    keyed_random          random generators keyed by (seed, epoch, sentence id)

    batching              plan the batches of an epoch; load a batch of landmarks
    pipeline              corpus -> batches of features, with or without augmentation
    device_cache          splits whose landmarks stay in GPU memory
    device_transfer       copies between CPU and GPU that do not wait

    commands              the settings of each command of prepare_data.py

    augmentation/         random changes of the train sentences
    checks/               checks of landmarks and of files that imports, `check` and training share
    handedness/           which hand leads a sentence
    sources/              make a corpus from videos, landmark files or isolated signs
    simulation/           make a corpus of simulated signers
    corpora/              the built-in corpora
"""
