"""From the files of cells to the tidy tables of a study; needs no GPU."""
