"""What people wait for, measured: a start, a training step, the jobs of a run."""
