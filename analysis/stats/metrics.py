"""Metrics of items.

Every metric is a function of means over items: of hits for accuracy, of moments for a correlation.
So a resample of the items is a row of weights, many are a matrix, and one product gives them all.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pandas as pd

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
# predictions (..., items) and labels (items,) to what is averaged over items, (..., items, k)
Features = Callable[[Floats, Floats], Floats]
# those averages (..., k) to the metric (...)
Value = Callable[[Floats], Floats]

# the spread of constant predictions is zero up to rounding
_TINY = 1e-7


def score(metric: str, prediction: npt.ArrayLike, label: npt.ArrayLike) -> Floats:
    """A metric of each row of predictions.

    Parameters
    ----------
    metric
        `accuracy`, `likelihood` (predictions are values to be averaged), `matthews`, `f1` (of class
        1; where there are others than 0 and 1, the mean of all that are predicted or there),
        `pearson` or `spearman`; what follows an underscore, as in `accuracy_strict`, is ignored.
    prediction
        Shape (..., items).
    label
        Shape (items,).

    Returns
    -------
    Shape (...,). A correlation, or F1, whose denominator is zero is 0.
    """
    features, value = parts(metric)
    return value(features(*_float(prediction, label)).mean(axis=-2))


def item_score(metric: str, items: pd.DataFrame) -> float:
    """A metric of one run's items, columns prediction, label, correct; accuracy reads `correct`."""
    if metric.startswith("accuracy"):
        return float(items["correct"].mean())
    # they are text, so that one table has the items of every kind of task
    prediction, label = (items[name].astype(float) for name in ("prediction", "label"))
    return float(score(metric, prediction, label))


def bounds(metric: str) -> tuple[float, float]:
    """The least and the largest value that a metric can take; infinite where it has none."""
    if metric == "answer_loss":
        return 0.0, np.inf
    kind = metric.split("_", maxsplit=1)[0]
    if kind in {"accuracy", "f1", "choice"}:
        return 0.0, 1.0
    return (-1.0, 1.0) if kind in {"matthews", "pearson", "spearman"} else (-np.inf, np.inf)


def parts(metric: str) -> tuple[Features, Value]:
    """What a metric averages over items, and what it makes of the averages."""
    try:
        return _METRICS[metric.split("_", maxsplit=1)[0]]
    except KeyError:
        known = ", ".join(_METRICS)
        raise ValueError(
            f"metric '{metric}' cannot be computed from items; known: {known}"
        ) from None


def _float(prediction: npt.ArrayLike, label: npt.ArrayLike) -> tuple[Floats, Floats]:
    return np.asarray(prediction, dtype=np.float64), np.asarray(label, dtype=np.float64)


def _hits(prediction: Floats, label: Floats) -> Floats:
    return np.asarray(prediction == label, dtype=np.float64)[..., None]


def _values(prediction: Floats, _label: Floats) -> Floats:
    return np.asarray(prediction[..., None])


def _first(average: Floats) -> Floats:
    return np.asarray(average[..., 0])


def _positives(prediction: Floats, label: Floats) -> Floats:
    names = np.union1d(prediction, label)
    said, true = _one_hot(prediction, label, names if names[-1] > 1 else np.ones(1))
    return np.concatenate([said & true, said, true], axis=-1).astype(np.float64)


def _f1(average: Floats) -> Floats:
    both, said, true = np.split(average, 3, axis=-1)
    present = (said + true > _TINY).sum(axis=-1)
    return np.asarray(_ratio(2 * both, said + true).sum(axis=-1) / np.maximum(present, 1))


def _classes(prediction: Floats, label: Floats) -> Floats:
    said, true = _one_hot(prediction, label, np.union1d(prediction, label))
    hit = (prediction == label)[..., None]
    return np.concatenate([hit, said, true], axis=-1).astype(np.float64)


def _one_hot(prediction: Floats, label: Floats, names: Floats) -> tuple[Bools, Bools]:
    said = prediction[..., None] == names
    return said, np.broadcast_to(label[:, None] == names, said.shape)


def _matthews(average: Floats) -> Floats:
    hit, shares = average[..., 0], average[..., 1:]
    said, true = np.split(shares, 2, axis=-1)
    spread = (1 - (said**2).sum(axis=-1)) * (1 - (true**2).sum(axis=-1))
    return _ratio(hit - (said * true).sum(axis=-1), np.sqrt(np.maximum(spread, 0)))


def _moments(prediction: Floats, label: Floats) -> Floats:
    # centred, since moments of values far from zero lose digits; by a constant that does not depend
    # on the predictions, so that those of two methods may be mixed
    x = prediction - label.mean()
    y = np.broadcast_to(label - label.mean(), x.shape)
    return np.stack([x, y, x * x, y * y, x * y], axis=-1)


def _rank_moments(prediction: Floats, label: Floats) -> Floats:
    # ranks among all items; a resample keeps them
    from scipy.stats import rankdata  # its import takes as long as that of pandas

    return _moments(rankdata(prediction, axis=-1), rankdata(label))


def _correlation(average: Floats) -> Floats:
    x, y, xx, yy, xy = np.moveaxis(average, -1, 0)
    spread = np.maximum(xx - x * x, 0) * np.maximum(yy - y * y, 0)
    return _ratio(xy - x * y, np.sqrt(spread))


def _ratio(top: Floats, bottom: Floats) -> Floats:
    defined = bottom > _TINY
    return np.where(defined, top / np.where(defined, bottom, 1), 0.0)


_METRICS: dict[str, tuple[Features, Value]] = {
    "accuracy": (_hits, _first),
    "likelihood": (_values, _first),
    "matthews": (_classes, _matthews),
    "f1": (_positives, _f1),
    "pearson": (_moments, _correlation),
    "spearman": (_rank_moments, _correlation),
}
