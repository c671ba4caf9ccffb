"""The run report: one data model, rendered for a terminal and as one HTML page."""
