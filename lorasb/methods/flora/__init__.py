"""Flora: full fine-tuning whose optimiser keeps a random projection of its momentum."""
