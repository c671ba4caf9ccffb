"""System helpers: atomic files, terminal output, processes, and trace propagation."""
