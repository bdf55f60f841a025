"""One training run: its schedule, the order of its rows, the loop."""
