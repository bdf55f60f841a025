"""One module a section of the page that needs more than a table for readers."""
