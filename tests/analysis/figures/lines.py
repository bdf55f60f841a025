"""What a test reads from panels with lines and bars."""

from __future__ import annotations

import numpy as np


def bars(axes):
    """Label -> x, mean, and half the length of each bar; NaN where there is none."""
    found = {}
    for container in axes.containers:
        line, _, (segments,) = container.lines
        half = [np.ptp(bar[:, 1]) / 2 if len(bar) else np.nan for bar in segments.get_segments()]
        found[container.get_label()] = (list(line.get_xdata()), line.get_ydata(), half)
    return found
