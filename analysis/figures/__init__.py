"""One script per figure: `draw` from a tidy table to a figure, and an adapter for Snakemake."""
