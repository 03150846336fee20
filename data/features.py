"""Landmarks to the 6516-dim features of the teacher, batched, on the device the landmarks are on.

Three steps, before the last of which augmentation acts on geometry:

    body_coordinates   image fractions -> gaps bridged, shoulder-centred, in shoulder widths      (B, T, 543, 3)
    right_handed       -> the mirror image, where the left hand leads                               (B, T, 543, 3)
    feature_blocks     -> position | velocity | acceleration | position relative to the part's root   (B, T, 6516)
"""

import torch
from torch import Tensor

from data.landmarks import (
    LEFT_SHOULDER,
    LEFT_WRIST,
    MIRRORED,
    MIRRORED_PARTS,
    NUM_LANDMARKS,
    PART_ANCHORS,
    PART_ROOTS,
    PART_SLICES,
    PARTS,
    RIGHT_SHOULDER,
    RIGHT_WRIST,
)

HIPS = 2.0  # shoulder widths below the shoulders, about
CLEARLY_HIGHER = 0.25  # shoulder widths between the wrists' mean heights
MIN_SHOULDER_WIDTH = 0.02  # image heights: a body seen from the side must not blow up the scale


def frame_mask(lengths: Tensor, frames: int) -> Tensor:
    """bool (B, frames): True where the frame belongs to the sentence. lengths: int (B,)."""
    return torch.arange(frames, device=lengths.device) < lengths[:, None]


def take_frames(x: Tensor, index: Tensor) -> Tensor:
    """Rows `index` int64 (B, S) along time of x (B, T, ...), giving (B, S, ...)."""
    batch, frames = x.shape[:2]
    start = torch.arange(batch, device=x.device)[:, None] * frames
    rows = x.reshape(batch * frames, -1).index_select(0, (index + start).reshape(-1))
    return rows.reshape(batch, index.shape[1], *x.shape[2:])


def _interpolate_gaps(x: Tensor, seen: Tensor) -> Tensor:
    """Linear interpolation over time where `seen` is False; held before the first and after the last seen frame.

    x (B, T, N, 3), seen bool (B, T). A sentence in which nothing was seen becomes zeros.
    """
    frames = x.shape[1]
    time = torch.arange(frames, device=x.device).expand(seen.shape)
    before = torch.where(seen, time, -1).cummax(1).values
    after = frames - 1 - torch.where(seen, frames - 1 - time, -1).flip(1).cummax(1).values.flip(1)
    has_before, has_after = before >= 0, after < frames
    before, after = torch.where(has_before, before, after), torch.where(has_after, after, before)
    never = ~(has_before | has_after)
    before, after = before.masked_fill(never, 0), after.masked_fill(never, 0)
    weight = (time - before) / (after - before).clamp(min=1)
    weight = weight.to(x.dtype)[:, :, None, None]
    bridged = torch.lerp(take_frames(x, before), take_frames(x, after), weight)
    return bridged.masked_fill(never[:, :, None, None], 0)


def bridge_gaps(landmarks: Tensor, detected: Tensor, lengths: Tensor) -> Tensor:
    """Fill the frames in which a part was not detected; frames behind the sentence's end hold its last frame.

    landmarks float (B, T, 543, 3), detected bool (B, T, 4), lengths int (B,) -> (B, T, 543, 3). The pose is interpolated
    in time. Hands and face are interpolated relative to their pose anchor (wrist, nose) and put back onto it, so that a
    lost hand still goes where the arm goes; one never seen in the sentence sits in its anchor.
    """
    seen = detected & frame_mask(lengths, landmarks.shape[1])[..., None]
    bridged = torch.empty_like(landmarks)
    pose = _interpolate_gaps(landmarks[:, :, PART_SLICES["pose"]], seen[..., PARTS.index("pose")])
    bridged[:, :, PART_SLICES["pose"]] = pose
    # A frame without a pose has no anchor to measure from: there, too, the part counts as not seen.
    seen = seen & seen[..., :1]
    for part, anchor in PART_ANCHORS.items():
        where = PART_SLICES[part]
        # z of hands and face is measured from their own root, so only x and y follow the anchor.
        origin = pose[:, :, anchor : anchor + 1] * pose.new_tensor([1.0, 1.0, 0.0])
        bridged[:, :, where] = _interpolate_gaps(landmarks[:, :, where] - origin, seen[..., PARTS.index(part)]) + origin
    return bridged


def body_coordinates(landmarks: Tensor, detected: Tensor, lengths: Tensor, aspect_ratio: float) -> Tensor:
    """Landmarks in the signer's own frame: origin between the shoulders, unit the shoulder width, aspect corrected.

    landmarks float (B, T, 543, 3) as stored (x, y image fractions; z fractions of the width); detected bool (B, T, 4);
    lengths int (B,); aspect_ratio width / height. Returns float32 (B, T, 543, 3), gaps bridged; frames past a
    sentence's end hold its last frame. The unit is the median over the sentence, robust against single bad frames; z is
    measured from the shoulders for the pose and stays measured from their own roots for hands and face.
    """
    landmarks = landmarks.float() * landmarks.new_tensor([aspect_ratio, 1.0, aspect_ratio], dtype=torch.float32)
    body = bridge_gaps(landmarks, detected, lengths)
    left, right = body[:, :, LEFT_SHOULDER], body[:, :, RIGHT_SHOULDER]
    width = torch.linalg.vector_norm((left - right)[..., :2], dim=-1)  # (B, T)
    known = frame_mask(lengths, body.shape[1]) & detected[..., PARTS.index("pose")]
    unit = width.masked_fill(~known, torch.nan).nanmedian(dim=1).values.nan_to_num(1.0)
    centre = ((left + right) / 2)[:, :, None]  # (B, T, 1, 3)
    body[:, :, PART_SLICES["pose"]] -= centre
    body[:, :, PART_SLICES["face"].start :, :2] -= centre[..., :2]
    return body / unit.clamp(min=MIN_SHOULDER_WIDTH)[:, None, None, None]


def left_hand_leads(body: Tensor, lengths: Tensor) -> Tensor:
    """bool (B,): the left wrist is held clearly higher and moves more than the right one, on average over the sentence.

    body (B, T, 543, 3) as of `body_coordinates`. Finds left-handed signers and mirrored cameras; a right-handed sentence is
    seldom taken for one, because both must hold.
    """
    inside = frame_mask(lengths, body.shape[1])
    raised, moved = [], []
    for wrist in (LEFT_WRIST, RIGHT_WRIST):
        path = body[:, :, wrist, :2]
        above_hips = (HIPS - path[..., 1]).clamp(min=0)
        raised.append((above_hips * inside).sum(1))
        # Frames past the end hold the last one: nothing moves there.
        moved.append(torch.linalg.vector_norm(path[:, 1:] - path[:, :-1], dim=-1).sum(1))
    return (raised[0] - raised[1] > CLEARLY_HIGHER * lengths) & (moved[0] > moved[1])


def right_handed(body: Tensor, detected: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """body (B, T, 543, 3) and detected (B, T, 4) with sentences in which the left hand leads mirrored.

    A gloss is then signed by the same hand whoever signs it and however the camera was set.
    """
    flip = left_hand_leads(body, lengths)[:, None, None]
    if flip.device.type == "cpu" and not flip.any():  # the usual case; elsewhere asking would wait for the device
        return body, detected
    mirrored = body[:, :, torch.from_numpy(MIRRORED).to(body.device)] * body.new_tensor([-1.0, 1.0, 1.0])
    return torch.where(flip[..., None], mirrored, body), torch.where(flip, detected[..., MIRRORED_PARTS], detected)


def feature_blocks(body: Tensor, lengths: Tensor) -> Tensor:
    """The four blocks of 1629: position, velocity, acceleration, position relative to the part's root.

    body float (B, T, 543, 3), whose frames past a sentence's end hold its last frame -> (B, T, 6516), zeros past the end.
    Velocity is the central difference (p[t+1] - p[t-1]) / 2, acceleration p[t+1] - 2 p[t] + p[t-1], both per frame, with
    the first and the last frame repeated outward.
    """
    batch, frames = body.shape[:2]
    following = torch.cat([body[:, 1:], body[:, -1:]], dim=1)
    preceding = torch.cat([body[:, :1], body[:, :-1]], dim=1)
    blocks = body.new_empty(batch, frames, 4, NUM_LANDMARKS, 3)
    blocks[:, :, 0] = body
    torch.sub(following, preceding, out=blocks[:, :, 1]).mul_(0.5)
    torch.add(following, preceding, out=blocks[:, :, 2]).sub_(body, alpha=2)
    for part, where in PART_SLICES.items():
        root = body[:, :, PART_ROOTS[part] : PART_ROOTS[part] + 1]
        torch.sub(body[:, :, where], root, out=blocks[:, :, 3, where])
    blocks.mul_(frame_mask(lengths, frames)[:, :, None, None, None])
    return blocks.reshape(batch, frames, -1)


def compute_features(landmarks: Tensor, detected: Tensor, lengths: Tensor, aspect_ratio: float) -> Tensor:
    """Stored landmarks to features without augmentation: (B, T, 543, 3) -> float32 (B, T, 6516), zeros past the end."""
    body = body_coordinates(landmarks, detected, lengths, aspect_ratio)
    return feature_blocks(right_handed(body, detected, lengths)[0], lengths)
