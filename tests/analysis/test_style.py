from __future__ import annotations

from matplotlib.figure import Figure

from analysis import style


def test_metrics_have_readable_names():
    assert style.metric_label("accuracy_flexible") == "Accuracy"
    assert style.metric_label("exact_match") == "Exact match"
    assert style.percent_label("accuracy") == "Accuracy (%)"
    assert style.percent_label("matthews") == "100 x Matthews correlation"


def test_smaller_ranks_are_paler_and_the_largest_has_the_full_colour():
    ranks = [4, 8, 16]
    reds = [int(style.shade("#D55E00", rank, ranks)[3:5], 16) for rank in ranks]
    assert reds == sorted(reds, reverse=True)
    assert style.shade("#D55E00", 16, ranks) == "#d55e00"


def test_saved_bytes_are_the_same_each_time(tmp_path):
    for name in ("one", "two"):
        figure = Figure()
        figure.add_subplot().plot([1, 2], [3, 4], label="x")
        style.save(figure, tmp_path / f"{name}.pdf", tmp_path / f"{name}.png")
    for suffix in ("pdf", "png"):
        one, two = ((tmp_path / f"{name}.{suffix}").read_bytes() for name in ("one", "two"))
        assert one == two
        assert b"CreationDate" not in one
