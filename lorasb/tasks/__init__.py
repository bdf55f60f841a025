"""Tasks: where rows come from, how they become tokens, how answers are scored."""
