"""What of the paper's claims needs no training run."""
