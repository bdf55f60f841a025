import pytest

from analysis.report.marks import CIRCLE, PATHS, path
from analysis.style import FREE, Style
from tests.analysis.conftest import STYLES


@pytest.mark.parametrize("look", [*FREE, *(Style(*look) for look in STYLES.values())])
def test_every_style_has_its_marker(look):
    assert path(look) == (PATHS[look.marker] if look.marker else CIRCLE)


def test_markers_differ_and_fill_about_the_same_square():
    assert len(set(PATHS.values())) == len(PATHS)
    for name, text in PATHS.items():
        if name != "o":
            numbers = [
                float(part) for corner in text[1:-1].split("L") for part in corner.split(",")
            ]
            assert 0.8 < max(map(abs, numbers)) <= 1.2
