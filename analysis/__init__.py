"""Tables, figures and statistics from the tidy tables of a study. Needs no torch and no lorasb."""
