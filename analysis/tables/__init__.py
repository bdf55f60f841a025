"""One script per table: a pure function from tidy tables to rows, and an adapter for Snakemake."""
