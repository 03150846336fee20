"""Turn landmarks into the 6516-dim features of the teacher, in batches, on their device.

    stored landmarks     image fractions, zeros where a part was not detected      (B, T, 543, 3)
    body_coordinates     gaps bridged; origin between the shoulders, unit the
                         shoulder width                                            (B, T, 543, 3)
    mirror_left_handed   sentences in which the left hand leads are mirrored       (B, T, 543, 3)
    feature_blocks       position | velocity | acceleration | relative position    (B, T, 6516)

`normalize_landmarks` does the second and third step, `compute_features` all of them. The
augmentation changes the geometry before `feature_blocks`.

B is the number of sentences, T the number of frames of the longest one. `detected` has a column
for each part: pose, face, left hand, right hand. Two arguments recur:

    selection   a `LandmarkSelection`: work on its K landmarks only. The values are the same; the
                shapes are (B, T, K, 3) and (B, T, 12 K). The default is all 543 landmarks.
    causal      for streaming recognition: the coordinates of a frame depend on no later frame.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from data.device_transfer import cached_constant
from data.handedness.leading_hand import left_hand_higher_and_moving, left_hand_leads
from data.handedness.leading_hand_rules import BY_SIGNER
from data.landmarks import ALL_LANDMARKS, MIRRORED_PARTS, PARTS, LandmarkSelection

# Image heights. A signer seen from the side has narrow shoulders; division by a smaller width would
# blow up the coordinates.
MIN_SHOULDER_WIDTH = 0.02


def frame_mask(lengths: Tensor, frames: int) -> Tensor:
    """Which frames of a padded batch belong to a sentence; the same for output steps.

    lengths: int (B,), frames of each sentence. Returns bool (B, frames), False in the padding.
    """
    return torch.arange(frames, device=lengths.device) < lengths[:, None]


def gather_frames(x: Tensor, index: Tensor) -> Tensor:
    """Pick frames of each sentence: result[b, s] = x[b, index[b, s]].

    x: (B, T, ...). index: int64 (B, S), 0 to T - 1. Returns (B, S, ...).
    """
    return _gather_rows(x, _batch_rows(index, x.shape[1]))


def _batch_rows(index: Tensor, frames: int) -> Tensor:
    """Row numbers in a batch whose sentences lie one after the other.

    index: int64 (B, ...), frame numbers in each of B sentences of `frames` frames. Returns the same
    shape: b * frames + index[b].
    """
    # index.shape[0], not len(index): the ONNX export traces the shape only
    start = torch.arange(index.shape[0], device=index.device) * frames
    return index + start.view(-1, *[1] * (index.ndim - 1))


def _gather_rows(x: Tensor, rows: Tensor) -> Tensor:
    """x: (B, T, ...); rows: int64 (B, S), row numbers as of `_batch_rows`. Returns (B, S, ...)."""
    return x.flatten(0, 1).index_select(0, rows.reshape(-1)).view(*rows.shape, *x.shape[2:])


class _GapBridges(NamedTuple):
    """From which frames each frame of each part is filled. All tensors are (P, B, T).

    before: int64, row number (see `_batch_rows`) of the last detected frame up to this one; of the
        next one if there is none.
    after: int64, row number of the next detected frame from this one on; of the last one if there
        is none. None if causal.
    weight: float32, the weight of `after`, 0 to 1. None if causal.
    absent: bool, True where the part has no detected frame to fill from.
    """

    before: Tensor
    after: Tensor | None
    weight: Tensor | None
    absent: Tensor

    def fill(self, x: Tensor, part: int) -> Tensor:
        """x: (B, T, N, 3), one part. Returns it without gaps; zeros where the part is absent."""
        filled = _gather_rows(x, self.before[part])
        if self.after is not None and self.weight is not None:
            filled = torch.lerp(
                filled, _gather_rows(x, self.after[part]), self.weight[part, :, :, None, None]
            )
        return filled.masked_fill(self.absent[part, :, :, None, None], 0)


def _gap_bridges(seen: Tensor, causal: bool) -> _GapBridges:
    """Find the frames to interpolate between where a part was not detected.

    seen: bool (B, T, P). A frame between two detected frames is interpolated linearly in time. A
    frame before the first or after the last detected frame holds that frame. If `causal`, every
    frame holds the last detected frame.
    """
    seen = seen.transpose(1, 2)
    frames = seen.shape[2]
    time = torch.arange(frames, device=seen.device).expand(seen.shape)
    # The times of the detected frames first. A sort, because ONNX has no running maximum.
    ranked = torch.where(seen, time, time + frames).sort(2).values
    none = torch.zeros_like(ranked[..., :1])
    ranked = torch.cat([none - 1, ranked, none + 2 * frames], dim=2)
    count = seen.long().cumsum(2)  # detected frames up to this one, this one included
    before = ranked.gather(2, count)  # the last detected frame up to this one, or -1
    if causal:
        rows = _batch_rows(before.clamp(min=0), frames).transpose(0, 1)
        return _GapBridges(rows, None, None, (before < 0).transpose(0, 1))
    # The next detected frame from this one on, or `frames` and more
    after = ranked.gather(2, count - seen.long() + 1)
    has_before, has_after = before >= 0, after < frames
    before, after = torch.where(has_before, before, after), torch.where(has_after, after, before)
    absent = ~(has_before | has_after)
    before, after = before.masked_fill(absent, 0), after.masked_fill(absent, 0)
    weight = ((time - before) / (after - before).clamp(min=1)).float()
    before_rows, after_rows = (
        _batch_rows(index, frames).transpose(0, 1).contiguous() for index in (before, after)
    )
    return _GapBridges(before_rows, after_rows, weight.transpose(0, 1), absent.transpose(0, 1))


def bridge_gaps(
    landmarks: Tensor,
    detected: Tensor,
    lengths: Tensor,
    causal: bool = False,
    selection: LandmarkSelection = ALL_LANDMARKS,
) -> Tensor:
    """Fill the frames in which a part was not detected.

    The detector loses fast or covered hands for some frames. Zeros there would look like sudden
    jumps. The pose is interpolated in time. Face and hands are interpolated relative to a landmark
    of the pose, their anchor (nose, wrists), so that a lost hand still follows its arm. A hand that
    is not detected in the whole sentence lies in its wrist.

    Args:
        landmarks: float (B, T, 543, 3).
        detected: bool (B, T, 4).
        lengths: int (B,).
        causal: hold the last detected frame instead of interpolating towards the next one.
        selection: the landmarks that `landmarks` holds.

    Returns float (B, T, 543, 3). Frames after the end of a sentence hold its last frame.
    """
    seen = detected & frame_mask(lengths, landmarks.shape[1])[..., None]
    # Without a pose there is no anchor, so a part counts as detected only where the pose is, too.
    bridges = _gap_bridges(seen & seen[..., :1], causal)
    pose = landmarks[:, :, selection.part_slices["pose"]]
    parts = {"pose": bridges.fill(pose, PARTS.index("pose"))}
    for part, anchor in selection.part_anchors.items():
        # Only x and y follow the anchor: z of face and hands is measured from their own root.
        origin = parts["pose"][:, :, anchor : anchor + 1] * cached_constant(
            (1.0, 1.0, 0.0), landmarks.device
        )
        offsets = landmarks[:, :, selection.part_slices[part]] - origin
        parts[part] = bridges.fill(offsets, PARTS.index(part)) + origin
    return torch.cat([parts[part] for part in PARTS], dim=2)


def _median(x: Tensor, known: Tensor) -> Tensor:
    """The median of the known values of each row; the lower one of two; 1 where none is known.

    x: (B, T), known: bool (B, T). Returns (B,).
    """
    count = known.long().sum(1, keepdim=True)
    middle = (count - 1).clamp(min=0) // 2
    median = x.masked_fill(~known, torch.inf).sort(1).values.gather(1, middle)
    return torch.where(count > 0, median, torch.ones_like(median))[:, 0]


def _running_mean(x: Tensor, known: Tensor) -> Tensor:
    """The mean of the known values up to each column; 1 where none is known yet.

    x: (B, T), known: bool (B, T). Returns (B, T).
    """
    count = known.to(x.dtype).cumsum(1)
    return torch.where(
        count > 0, x.masked_fill(~known, 0).cumsum(1) / count.clamp(min=1), torch.ones_like(x)
    )


def body_coordinates(
    landmarks: Tensor,
    detected: Tensor,
    lengths: Tensor,
    aspect_ratio: float,
    causal: bool = False,
    selection: LandmarkSelection = ALL_LANDMARKS,
) -> Tensor:
    """Landmarks relative to the signer's body, with gaps bridged.

    The origin is the middle between the shoulders and the unit is the shoulder width. The result
    does not depend on where the signer stands in the image, on the distance to the camera, or on
    the aspect ratio of the image. The shoulder width is the median over the sentence, so single bad
    frames do not change it; if `causal`, it is the mean over the frames so far. z of the pose is
    measured from the shoulders; z of face and hands stays measured from their own roots.

    Args:
        landmarks: float (B, T, 543, 3) as stored: x and y in fractions of the image, z in fractions
            of the image's width.
        detected: bool (B, T, 4).
        lengths: int (B,).
        aspect_ratio: image width / height.
        causal: no frame depends on a later one; see also `bridge_gaps`.
        selection: the landmarks that `landmarks` holds.

    Returns float32 (B, T, 543, 3) in shoulder widths. Frames after the end of a sentence hold its
    last frame.
    """
    landmarks = landmarks.float() * cached_constant(
        (aspect_ratio, 1.0, aspect_ratio), landmarks.device
    )  # in image heights
    body = bridge_gaps(landmarks, detected, lengths, causal, selection)
    left, right = body[:, :, selection.left_shoulder], body[:, :, selection.right_shoulder]
    width = torch.linalg.vector_norm((left - right)[..., :2], dim=-1)  # (B, T)
    known = frame_mask(lengths, body.shape[1]) & detected[..., PARTS.index("pose")]
    unit = _running_mean(width, known) if causal else _median(width, known)[:, None]
    centre = ((left + right) / 2)[:, :, None]  # (B, T, 1, 3)
    pose = body[:, :, selection.part_slices["pose"]] - centre
    # Face and hands come after the pose. Their z has its own root.
    others = body[:, :, selection.part_slices["face"].start :] - centre * cached_constant(
        (1.0, 1.0, 0.0), centre.device
    )
    return torch.cat([pose, others], dim=2) / unit.clamp(min=MIN_SHOULDER_WIDTH)[:, :, None, None]


def can_branch_on(x: Tensor) -> bool:
    """Whether Python code may branch on the values of a tensor.

    False on a GPU, where looking at a value waits for all queued work. False while a graph is
    traced for export, because the trace would keep one branch only.
    """
    tracing = torch.jit.is_tracing()
    return x.device.type == "cpu" and not tracing


def mirror_left_handed(
    body: Tensor,
    detected: Tensor,
    left: Tensor,
    selection: LandmarkSelection = ALL_LANDMARKS,
) -> tuple[Tensor, Tensor]:
    """Mirror the sentences in which the left hand leads; leave the others unchanged.

    A gloss is then always signed by the same hand, also by left-handed signers and with a mirrored
    camera.

    Args:
        body: float (B, T, 543, 3), the result of `body_coordinates`.
        detected: bool (B, T, 4).
        left: bool (B,), whether the left hand leads.
        selection: the landmarks that `body` holds.

    Returns body and detected, in the same shapes.
    """
    flip = left[:, None, None]
    # Usually no sentence is left-handed. Skip the work where it is cheap to find out.
    if can_branch_on(flip) and not flip.any():
        return body, detected
    mirrored = body.index_select(2, cached_constant(selection.mirrored, body.device))
    mirrored = mirrored * cached_constant((-1.0, 1.0, 1.0), body.device)
    mirrored_detected = detected.index_select(2, cached_constant(MIRRORED_PARTS, detected.device))
    # Not torch.where: onnxruntime has none for bools.
    detected = (flip & mirrored_detected) | (~flip & detected)
    return torch.where(flip[..., None], mirrored, body), detected


def normalize_landmarks(
    landmarks: Tensor,
    detected: Tensor,
    lengths: Tensor,
    aspect_ratio: float,
    causal: bool = False,
    selection: LandmarkSelection = ALL_LANDMARKS,
    leading_hand: str = BY_SIGNER,
    votes: Tensor | None = None,
    recorded: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """`body_coordinates`, then `mirror_left_handed`.

    Nothing is mirrored if `causal`: which hand leads is known only at the end of the sentence.

    The first arguments are those of `body_coordinates`.

    Args:
        leading_hand: the rule that decides which hand leads, see `data/handedness/leading_hand.py`.
        votes: int (B,), see `left_hand_leads`.
        recorded: `detected` before parts were hidden, if some were; which hand leads does not
            depend on what is hidden.

    Returns body float32 (B, T, 543, 3) in shoulder widths and detected bool (B, T, 4).
    """
    body = body_coordinates(landmarks, detected, lengths, aspect_ratio, causal, selection)
    if causal:
        return body, detected
    inside = frame_mask(lengths, body.shape[1])
    if leading_hand == BY_SIGNER:
        whole = body
        if recorded is None:
            recorded = detected
        elif recorded is not detected:
            whole = body_coordinates(landmarks, recorded, lengths, aspect_ratio, False, selection)
        left = left_hand_leads(whole, recorded, inside, selection, votes)
    else:
        left = left_hand_higher_and_moving(body, inside, selection)
    return mirror_left_handed(body, detected, left, selection)


def feature_blocks(
    body: Tensor, lengths: Tensor, selection: LandmarkSelection = ALL_LANDMARKS
) -> Tensor:
    """The four blocks of 1629 features from body coordinates.

        position       the coordinates themselves
        velocity       (p[t+1] - p[t-1]) / 2, shoulder widths per frame
        acceleration   p[t+1] - 2 p[t] + p[t-1], shoulder widths per frame and frame
        relative       the coordinates relative to the root of the part: nose, middle of the eyes,
                       or wrist

    The first and the last frame of a sentence count as their own neighbours.

    Args:
        body: float (B, T, 543, 3) in shoulder widths; frames after the end of a sentence must hold
            its last frame.
        lengths: int (B,).
        selection: the landmarks that `body` holds.

    Returns (B, T, 6516), zeros after the end of a sentence. Each block is in landmark order: x, y
    and z of landmark 0, then of landmark 1, and so on.
    """
    batch, frames = body.shape[:2]
    following = torch.cat([body[:, 1:], body[:, -1:]], dim=1)
    preceding = torch.cat([body[:, :1], body[:, :-1]], dim=1)
    velocity = (following - preceding) * 0.5
    acceleration = following + preceding - 2 * body
    relative = [
        body[:, :, selection.part_slices[part]] - body[:, :, root : root + 1]
        for part, root in selection.part_roots.items()
    ]
    blocks = (
        torch.cat([body, velocity, acceleration, *relative], dim=2)
        * frame_mask(lengths, frames)[..., None, None]
    )
    return blocks.reshape(batch, frames, -1)


def compute_features(
    landmarks: Tensor, detected: Tensor, lengths: Tensor, aspect_ratio: float, causal: bool = False
) -> Tensor:
    """The features of stored landmarks, without augmentation.

    The arguments are those of `body_coordinates`. Returns float32 (B, T, 6516), zeros after the end
    of a sentence.
    """
    body, _ = normalize_landmarks(landmarks, detected, lengths, aspect_ratio, causal)
    return feature_blocks(body, lengths)
