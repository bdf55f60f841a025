"""LoRA-SB in trainers of other libraries."""
