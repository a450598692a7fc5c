"""One style."""

import matplotlib.pyplot as plt

from shapnotes import plots


def test_style_is_opaque_and_switches_on():
    with plt.rc_context():
        plots.use_style()
        assert plt.rcParams["savefig.facecolor"] == "white"
        assert plt.rcParams["axes.prop_cycle"].by_key()["color"] == plots.COLOURS
