"""The run report: one model of all its figures, rendered for a terminal and as one HTML page."""
