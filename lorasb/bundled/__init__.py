"""What comes with the repository: a small model, its corpus, three generated task families."""
