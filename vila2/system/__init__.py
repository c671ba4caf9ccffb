"""What the library asks of the machine: terminal, processes, and traces between processes."""
