"""Messages generated from `proto/`: what crosses a process and time. Never edited by hand."""
