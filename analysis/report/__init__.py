"""The page of a study, one file to decide from: data in Python, words and shape in templates."""
