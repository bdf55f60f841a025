"""LoRA-SB's start, in the order of the paper: estimate, decompose, fill."""
