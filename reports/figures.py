"""The report's figures as inline SVG: curves of a run, WER with intervals, posteriors over time,
skeletons."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup

from data.landmarks import PART_SLICES, PARTS
from reports.embedded_figures import (
    FIRST,
    GRID,
    INK,
    MUTED,
    PAGE,
    SECOND,
    THIRD,
    new_figure,
    plot_settings,
    svg,
)
from reports.skeleton import draw_skeleton
from reports.verdict import TARGET_WER

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

EpochRow = dict[str, Any]  # an epoch, as metrics.jsonl has it

# Inches. A phone shows a figure of this width at about its own size.
_SMALL = (4.3, 2.9)
_MOST_DOTTED = 30  # a curve of at most this many epochs has a dot for each
_LONGEST_LABEL = 24  # characters
# The pose down to the wrists, and both hands
_UPPER_BODY = (slice(0, 17), PART_SLICES["left_hand"], PART_SLICES["right_hand"])
_BODY_PARTS = [PARTS.index(part) for part in ("pose", "left_hand", "right_hand")]
# Percent. WER axes end here, although insertions in the first epochs may give far more.
_MOST_WER = 110.0
# The loss axis is logarithmic when the largest loss is more than this many times the smallest
_LOG_ABOVE = 20


def curves(history: Sequence[EpochRow], best_epoch: int | None) -> dict[str, Markup]:
    """WER, loss, kinds of error and learning rate over the epochs, as {title: SVG}.
    history: rows of metrics.jsonl."""
    with plot_settings():
        return {
            "Word error rate": _wer(history, best_epoch),
            "Loss": _loss(history, best_epoch),
            "Errors on dev": _errors(history, best_epoch),
            "Learning rate": _rate(history),
        }


def _axes(history: Sequence[EpochRow], unit: str) -> "tuple[Figure, Axes]":
    from matplotlib.ticker import MaxNLocator

    figure = new_figure(*_SMALL, layout="constrained")
    axes = figure.subplots()
    axes.set(xlabel="epoch", ylabel=unit)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(axis="y", linewidth=0.6)
    axes.set_axisbelow(True)
    if len(history) == 1:
        axes.set_xlim(0, 2)
    return figure, axes


def _column(history: Sequence[EpochRow], key: str) -> list[float]:
    return [math.nan if row.get(key) is None else row[key] for row in history]


def _pair(axes: "Axes", history: Sequence[EpochRow], kind: str) -> None:
    """Plot train and dev of one quantity: "wer" or "loss"."""
    epochs = [row["epoch"] for row in history]
    marker = "." if len(epochs) <= _MOST_DOTTED else ""
    for split, colour, style in (("train", SECOND, "--"), ("dev", FIRST, "-")):
        values = _column(history, f"{split}_{kind}")
        if not np.isnan(values).all():  # the overfit check has no train WER
            axes.plot(
                epochs, values, style, color=colour, marker=marker, linewidth=1.5, label=split
            )


def _mark_best(axes: "Axes", best_epoch: int | None) -> None:
    if best_epoch:
        axes.axvline(best_epoch, color=MUTED, linewidth=0.8, linestyle=":")


def _wer(history: Sequence[EpochRow], best_epoch: int | None) -> Markup:
    figure, axes = _axes(history, "WER %")
    axes.axhline(TARGET_WER, color=MUTED, linewidth=1, linestyle=(0, (6, 3)))
    axes.annotate(
        f"{TARGET_WER:g} % target",
        xy=(1, TARGET_WER),
        xytext=(-2, 3),
        xycoords=("axes fraction", "data"),
        textcoords="offset points",
        ha="right",
        color=MUTED,
        fontsize=8,
    )
    _pair(axes, history, "wer")
    _mark_best(axes, best_epoch)
    best = next((row for row in history if row["epoch"] == best_epoch), None)
    if best is not None:
        label = f"best dev {best['dev_wer']:.2f} % (epoch {best['epoch']})"
        axes.plot(
            best["epoch"],
            best["dev_wer"],
            "o",
            color=INK,
            markerfacecolor=PAGE,
            markersize=6,
            label=label,
        )
    axes.set_ylim(0, max(_top(history), TARGET_WER * 1.3))
    axes.legend(fontsize=8)
    first, last = history[0]["dev_wer"], history[-1]["dev_wer"]
    change = f"dev from {first:.1f} to {last:.1f} % over {len(history)} epochs"
    return svg(figure, f"Word error rate of train and dev: {change}")


def _top(history: Sequence[EpochRow]) -> float:
    """The upper end of the WER axis."""
    values = [*_column(history, "train_wer"), *_column(history, "dev_wer")]
    largest = max((value for value in values if value > 0), default=0.0)
    return min(largest * 1.05, _MOST_WER)


def _loss(history: Sequence[EpochRow], best_epoch: int | None) -> Markup:
    figure, axes = _axes(history, "loss (mean over sentences)")
    _pair(axes, history, "loss")
    both = [*_column(history, "train_loss"), *_column(history, "dev_loss")]
    values = [value for value in both if math.isfinite(value)]
    if values and min(values) > 0 and max(values) > _LOG_ABOVE * min(values):
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter("")
    else:
        axes.set_ylim(bottom=0)
    _mark_best(axes, best_epoch)
    axes.legend(fontsize=8)
    return svg(figure, "Loss of train and dev over the epochs")


def _errors(history: Sequence[EpochRow], best_epoch: int | None) -> Markup:
    """Substitutions, deletions and insertions in percent of the reference glosses. Their sum is the
    dev WER."""
    figure, axes = _axes(history, "% of dev glosses")
    epochs = [row["epoch"] for row in history]
    kinds = {"substitutions": FIRST, "deletions": SECOND, "insertions": THIRD}
    shares = []
    for kind in kinds:
        share = []
        for row in history:
            errors = sum(row[f"dev_{name}"] for name in kinds)
            share.append(row["dev_wer"] * row[f"dev_{kind}"] / errors if errors else 0.0)
        shares.append(share)
    if len(epochs) == 1:
        axes.bar(
            epochs * 3,
            [share[0] for share in shares],
            bottom=np.cumsum([0, shares[0][0], shares[1][0]]),
            width=0.4,
            color=list(kinds.values()),
            alpha=0.75,
        )
    axes.stackplot(epochs, shares, labels=list(kinds), colors=list(kinds.values()), alpha=0.75)
    axes.set_ylim(0, max(min(max(map(sum, zip(*shares, strict=True))) * 1.05, _MOST_WER), 1.0))
    _mark_best(axes, best_epoch)
    axes.legend(fontsize=8, reverse=True)
    return svg(figure, "Substitutions, deletions and insertions on dev over the epochs")


def _rate(history: Sequence[EpochRow]) -> Markup:
    figure, axes = _axes(history, "learning rate, end of epoch")
    marker = "." if len(history) <= _MOST_DOTTED else ""
    axes.plot(
        [row["epoch"] for row in history],
        _column(history, "learning_rate"),
        color=FIRST,
        marker=marker,
    )
    axes.set_ylim(bottom=0)
    axes.ticklabel_format(axis="y", style="sci", scilimits=(0, 0), useMathText=False)
    return svg(figure, "Learning rate over the epochs")


def intervals(groups: dict[str, Any], overall_wer: float) -> Markup:
    """Each group's WER as a dot with its 95 % interval, and the WER of all sentences as a dotted
    line. The dot of a WER without an interval (see `reports.interval_words`) is hollow.

    groups: {name: `scoring.rates`}.
    """
    with plot_settings():
        places = np.arange(len(groups))
        middle = np.array([rates["wer"] for rates in groups.values()])
        low, high = np.array([rates["wer_interval"] for rates in groups.values()]).T
        hollow = low == high
        height = 0.9 + 0.15 * hollow.any() + 0.27 * len(groups)
        figure = new_figure(4.3, height, layout="constrained")
        axes = figure.subplots()
        axes.axvline(overall_wer, color=MUTED, linewidth=0.9, linestyle=":")
        axes.hlines(places, low, high, color=FIRST, linewidth=1.6)
        for dots, face in ((~hollow, FIRST), (hollow, PAGE)):
            axes.plot(middle[dots], places[dots], "o", color=FIRST, mfc=face, markersize=5)
        axes.set_yticks(places, list(map(_short, groups)))
        legend = "WER % with 95 % interval; dotted: all sentences"
        if hollow.any():
            legend += "\nhollow: no interval"
        axes.set(xlabel=legend, ylim=(len(groups) - 0.5, -0.5))
        axes.set_xlim(0, max(float(high.max()), overall_wer, 1.0) * 1.05)
        axes.grid(axis="x", linewidth=0.6)
        axes.set_axisbelow(True)
        return svg(figure, "Word error rate by group with 95 % intervals")


def posterior_map(
    probabilities: np.ndarray,
    rows: Sequence[str],
    predicted: Sequence[tuple[str, float, float]],
    seconds: float,
    description: str,
) -> Markup:
    """Probability of each class over time, with the predicted glosses above.

    Args:
        probabilities: (rows, steps), 0 to 1. The stronger the colour, the more probable.
        rows: the name of each row.
        predicted: (gloss, begin, end) in seconds.
        seconds: duration of all steps.
        description: text for screen readers.
    """
    from matplotlib.colors import to_rgb

    with plot_settings():
        figure = new_figure(9.2, 1.25 + 0.21 * len(rows), layout="constrained")
        axes = figure.subplots()
        shade = np.zeros((*probabilities.shape, 4))
        shade[..., :3] = to_rgb(FIRST)
        shade[..., 3] = probabilities  # improbable is transparent, on light and on dark pages
        extent = (0, seconds, len(rows) - 0.5, -0.5)
        axes.imshow(shade, extent=extent, aspect="auto", interpolation="none")
        axes.set_yticks(range(len(rows)), list(map(_short, rows)), color=INK, fontsize=8)
        axes.hlines(np.arange(len(rows)) + 0.5, 0, seconds, color=GRID, linewidth=0.5)
        axes.set(xlabel="seconds", xlim=(0, seconds), ylim=(len(rows) - 0.5, -1.25))
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        for _, begin, end in predicted:
            axes.plot(
                [begin, end - 0.003 * seconds],
                [-0.95, -0.95],
                color=INK,
                linewidth=4,
                solid_capstyle="butt",
            )
        above = axes.secondary_xaxis("top")
        above.set_xticks(
            [(begin + end) / 2 for _, begin, end in predicted],
            [_short(f"{number} {gloss}") for number, (gloss, _, _) in enumerate(predicted, 1)],
            rotation=32, ha="left", rotation_mode="anchor", color=INK, fontsize=8,
        )  # fmt: skip
        above.tick_params(length=0, pad=1)
        above.spines["top"].set_visible(False)
        return svg(figure, description)


def _short(label: str) -> str:
    """Shorten a long name, so that it leaves room for the plot. The full name is beside the
    figure."""
    return label if len(label) <= _LONGEST_LABEL else label[: _LONGEST_LABEL - 1] + "…"


def signer_box(
    landmarks: np.ndarray, detected: np.ndarray, aspect_ratio: float
) -> tuple[float, float, float]:
    """A square around head, arms and hands in all given frames: the x and y of its middle and its
    side, in image heights.

    landmarks (N, 543, 3), detected (N, 4). If nothing is detected, it is the whole image.
    """
    points = [
        landmarks[seen][:, part, :2].reshape(-1, 2)
        for part, seen in zip(_UPPER_BODY, detected[:, _BODY_PARTS].T, strict=True)
    ]
    xy = np.concatenate(points).astype(np.float64) * [aspect_ratio, 1]
    # MediaPipe guesses arms far outside the image
    xy = xy[(xy >= -0.1).all(1) & (xy <= [aspect_ratio + 0.1, 1.1]).all(1)]
    if not len(xy):
        return aspect_ratio / 2, 0.5, max(aspect_ratio, 1.0)
    low, high = xy.min(0), xy.max(0)
    low[1] -= 0.15 * (high[1] - low[1])  # the highest points of the pose are the eyes
    middle = (low + high) / 2
    return float(middle[0]), float(middle[1]), float(1.1 * (high - low).max())


def skeleton(
    landmarks: np.ndarray,
    detected: np.ndarray,
    aspect_ratio: float,
    box: tuple[float, float, float],
    description: str,
) -> Markup:
    """A small drawing of one frame, landmarks (543, 3) and detected (4,), cut to the
    `signer_box`."""
    with plot_settings():
        figure = new_figure(1.3, 1.3)
        axes = figure.add_axes((0, 0, 1, 1))
        draw_skeleton(axes, landmarks, detected, aspect_ratio)
        x, y, side = box
        axes.set(xlim=(x - side / 2, x + side / 2), ylim=(y + side / 2, y - side / 2))
        axes.set_axis_off()
        return svg(figure, description)
