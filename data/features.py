"""Landmarks to the 6516-dim features of the teacher, batched, on the device the landmarks are on.

Three steps, before the last of which augmentation acts on geometry:

    body_coordinates   image fractions -> gaps bridged, shoulder-centred, in shoulder widths      (B, T, 543, 3)
    mirror_left_handed       -> the mirror image, where the left hand leads                               (B, T, 543, 3)
    feature_blocks     -> position | velocity | acceleration | position relative to the part's root   (B, T, 6516)

With the `selection` of some landmarks the same is done for these K alone: (B, T, K, 3) ->
(B, T, 12 K), the same values.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from data.device_transfer import cached_constant
from data.landmarks import ALL_LANDMARKS, MIRRORED_PARTS, PARTS, LandmarkSelection

HIPS_Y = 2.0  # shoulder widths below the shoulders, about
LEADING_HAND_MARGIN = 0.25  # shoulder widths between the wrists' mean heights
MIN_SHOULDER_WIDTH = 0.02  # image heights: a body seen from the side must not blow up the scale


def frame_mask(lengths: Tensor, frames: int) -> Tensor:
    """bool (B, frames): True where the frame belongs to the sentence. lengths: int (B,)."""
    return torch.arange(frames, device=lengths.device) < lengths[:, None]


def gather_frames(x: Tensor, index: Tensor) -> Tensor:
    """Rows `index` int64 (B, S) along time of x (B, T, ...), giving (B, S, ...)."""
    return _take_rows(x, _rows_of(index, x.shape[1]))


def _rows_of(index: Tensor, frames: int) -> Tensor:
    """Frames `index` int64 (B, ...) of each of B sentences of `frames` frames, counted over all of
    them."""
    # Its shape: len is not traced
    start = torch.arange(index.shape[0], device=index.device) * frames
    return index + start.view(-1, *[1] * (index.ndim - 1))


def _take_rows(x: Tensor, rows: Tensor) -> Tensor:
    """Frames `rows` int64 (B, S), counted over all sentences, of x (B, T, ...), giving (B, S, ...)."""
    return x.flatten(0, 1).index_select(0, rows.reshape(-1)).view(*rows.shape, *x.shape[2:])


class _Bridges(NamedTuple):
    """How each frame of each part is filled, all (P, B, T): from the seen frames `before` and
    `after` it (int64, counted over all sentences; of a stream the first alone), `weight` of the
    second (float32), and `absent` where nothing was seen."""

    before: Tensor
    after: Tensor | None
    weight: Tensor | None
    absent: Tensor

    def fill(self, x: Tensor, part: int) -> Tensor:
        """x (B, T, N, 3) of one part without its gaps; zeros where it is absent."""
        filled = _take_rows(x, self.before[part])
        if self.after is not None:
            filled = torch.lerp(
                filled, _take_rows(x, self.after[part]), self.weight[part, :, :, None, None]
            )
        return filled.masked_fill(self.absent[part, :, :, None, None], 0)


def _bridges(seen: Tensor, causal: bool) -> _Bridges:
    """Linear interpolation over time where `seen` bool (B, T, P) is False, held before the first
    and after the last seen frame.

    `causal`, what a stream can do: the last seen frame is held. A sort, as ONNX knows no running
    maximum.
    """
    seen = seen.transpose(1, 2)
    frames = seen.shape[2]
    time = torch.arange(frames, device=seen.device).expand(seen.shape)
    ranked = torch.where(seen, time, time + frames).sort(2).values  # the seen frames come first
    none = torch.zeros_like(ranked[..., :1])
    ranked = torch.cat([none - 1, ranked, none + 2 * frames], dim=2)
    count = seen.long().cumsum(2)  # seen frames up to this one
    # The nearest one at or before each frame, -1 where there is none
    before = ranked.gather(2, count)
    if causal:
        rows = _rows_of(before.clamp(min=0), frames).transpose(0, 1)
        return _Bridges(rows, None, None, (before < 0).transpose(0, 1))
    after = ranked.gather(2, count - seen.long() + 1)  # at or after it, or at least `frames`
    has_before, has_after = before >= 0, after < frames
    before, after = torch.where(has_before, before, after), torch.where(has_after, after, before)
    absent = ~(has_before | has_after)
    before, after = before.masked_fill(absent, 0), after.masked_fill(absent, 0)
    weight = ((time - before) / (after - before).clamp(min=1)).float()
    rows = [_rows_of(place, frames).transpose(0, 1).contiguous() for place in (before, after)]
    return _Bridges(*rows, weight.transpose(0, 1), absent.transpose(0, 1))


def bridge_gaps(
    landmarks: Tensor,
    detected: Tensor,
    lengths: Tensor,
    causal: bool = False,
    selection: LandmarkSelection = ALL_LANDMARKS,
) -> Tensor:
    """Fill the frames in which a part was not detected; frames behind the sentence's end hold its
    last frame.

    landmarks float (B, T, 543, 3), detected bool (B, T, 4), lengths int (B,) -> (B, T, 543, 3). The
    pose is interpolated in time. Hands and face are interpolated relative to their pose anchor
    (wrist, nose) and put back onto it, so that a lost hand still goes where the arm goes; one never
    seen in the sentence sits in its anchor. `causal` holds the last seen frame instead of
    interpolating towards the next one.
    """
    seen = detected & frame_mask(lengths, landmarks.shape[1])[..., None]
    # A frame without a pose has no anchor to measure a part from: there it counts as not seen, too.
    bridges = _bridges(seen & seen[..., :1], causal)
    parts = {
        "pose": bridges.fill(landmarks[:, :, selection.part_slices["pose"]], PARTS.index("pose"))
    }
    for part, anchor in selection.part_anchors.items():
        # z of hands and face is measured from their own root, so only x and y follow the anchor.
        origin = parts["pose"][:, :, anchor : anchor + 1] * cached_constant(
            (1.0, 1.0, 0.0), landmarks.device
        )
        parts[part] = (
            bridges.fill(landmarks[:, :, selection.part_slices[part]] - origin, PARTS.index(part))
            + origin
        )
    return torch.cat([parts[part] for part in PARTS], dim=2)


def _median(x: Tensor, known: Tensor) -> Tensor:
    """The (lower) median of each row over its known values, 1 where none is known: x (B, T), known
    bool (B, T) -> (B,)."""
    count = known.long().sum(1, keepdim=True)
    middle = (count - 1).clamp(min=0) // 2
    median = x.masked_fill(~known, torch.inf).sort(1).values.gather(1, middle)
    return torch.where(count > 0, median, torch.ones_like(median))[:, 0]


def _running_mean(x: Tensor, known: Tensor) -> Tensor:
    """The mean over the known values up to each column, 1 where none is known yet: x (B, T), known
    bool (B, T) -> (B, T)."""
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
    """Landmarks in the signer's own frame: origin between the shoulders, unit the shoulder width,
    aspect corrected.

    landmarks float (B, T, 543, 3) as stored (x, y image fractions; z fractions of the width);
    detected bool (B, T, 4); lengths int (B,); aspect_ratio width / height. Returns float32
    (B, T, 543, 3), gaps bridged; frames past a sentence's end hold its last frame. The unit is the
    median over the sentence, robust against single bad frames; z is measured from the shoulders for
    the pose and stays measured from their own roots for hands and face. `causal`, for streaming: no
    frame depends on a later one; gaps hold what was last seen and the unit is the mean over the
    frames so far.
    """
    landmarks = landmarks.float() * cached_constant((aspect_ratio, 1.0, aspect_ratio), landmarks.device)
    body = bridge_gaps(landmarks, detected, lengths, causal, selection)
    left, right = body[:, :, selection.left_shoulder], body[:, :, selection.right_shoulder]
    width = torch.linalg.vector_norm((left - right)[..., :2], dim=-1)  # (B, T)
    known = frame_mask(lengths, body.shape[1]) & detected[..., PARTS.index("pose")]
    unit = _running_mean(width, known) if causal else _median(width, known)[:, None]
    centre = ((left + right) / 2)[:, :, None]  # (B, T, 1, 3)
    moved = [body[:, :, selection.part_slices["pose"]] - centre]
    moved.append(
        body[:, :, selection.part_slices["face"].start :]
        - centre * cached_constant((1.0, 1.0, 0.0), centre.device)
    )
    return torch.cat(moved, dim=2) / unit.clamp(min=MIN_SHOULDER_WIDTH)[:, :, None, None]


def left_hand_leads(
    body: Tensor, lengths: Tensor, selection: LandmarkSelection = ALL_LANDMARKS
) -> Tensor:
    """bool (B,): the left wrist is held clearly higher and moves more than the right one, on
    average over the sentence.

    body (B, T, 543, 3) as of `body_coordinates`. Finds left-handed signers and mirrored cameras; a
    right-handed sentence is seldom taken for one, because both must hold.
    """
    inside = frame_mask(lengths, body.shape[1])
    raised, moved = [], []
    for wrist in (selection.left_wrist, selection.right_wrist):
        path = body[:, :, wrist, :2]
        above_hips = (HIPS_Y - path[..., 1]).clamp(min=0)
        raised.append((above_hips * inside).sum(1))
        # Frames past the end hold the last one: nothing moves there.
        moved.append(torch.linalg.vector_norm(path[:, 1:] - path[:, :-1], dim=-1).sum(1))
    return (raised[0] - raised[1] > LEADING_HAND_MARGIN * lengths) & (moved[0] > moved[1])


def can_branch_on(x: Tensor) -> bool:
    """Whether a value can be looked at without waiting for a device, and without fixing it in an
    exported graph."""
    return x.device.type == "cpu" and not torch.jit.is_tracing()


def mirror_left_handed(
    body: Tensor, detected: Tensor, lengths: Tensor, selection: LandmarkSelection = ALL_LANDMARKS
) -> tuple[Tensor, Tensor]:
    """body (B, T, 543, 3) and detected (B, T, 4) with sentences in which the left hand leads
    mirrored.

    A gloss is then signed by the same hand whoever signs it and however the camera was set.
    """
    flip = left_hand_leads(body, lengths, selection)[:, None, None]
    # The usual case; another device would be waited for, and an exported graph must be able to do
    # both.
    if can_branch_on(flip) and not flip.any():
        return body, detected
    mirrored = body.index_select(2, cached_constant(selection.mirrored, body.device))
    mirrored = mirrored * cached_constant((-1.0, 1.0, 1.0), body.device)
    # Not torch.where: onnxruntime has none for bools.
    detected_there = detected.index_select(2, cached_constant(MIRRORED_PARTS, detected.device))
    detected = (flip & detected_there) | (~flip & detected)
    return torch.where(flip[..., None], mirrored, body), detected


def normalize_landmarks(
    landmarks: Tensor,
    detected: Tensor,
    lengths: Tensor,
    aspect_ratio: float,
    causal: bool = False,
    selection: LandmarkSelection = ALL_LANDMARKS,
) -> tuple[Tensor, Tensor]:
    """`body_coordinates`, then `mirror_left_handed`, unless `causal`: which hand leads is known at the
    end only."""
    body = body_coordinates(landmarks, detected, lengths, aspect_ratio, causal, selection)
    return (body, detected) if causal else mirror_left_handed(body, detected, lengths, selection)


def feature_blocks(
    body: Tensor, lengths: Tensor, selection: LandmarkSelection = ALL_LANDMARKS
) -> Tensor:
    """The four blocks of 1629: position, velocity, acceleration, position relative to the part's
    root.

    body float (B, T, 543, 3), whose frames past a sentence's end hold its last frame ->
    (B, T, 6516), zeros past the end. Velocity is the central difference (p[t+1] - p[t-1]) / 2,
    acceleration p[t+1] - 2 p[t] + p[t-1], both per frame, with the first and the last frame
    repeated outward.
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
    """Stored landmarks to features without augmentation: (B, T, 543, 3) -> float32 (B, T, 6516),
    zeros past the end."""
    return feature_blocks(
        normalize_landmarks(landmarks, detected, lengths, aspect_ratio, causal)[0], lengths
    )
