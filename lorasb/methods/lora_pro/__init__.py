"""LoRA-Pro (arXiv 2407.18242): the method and its optimiser."""
