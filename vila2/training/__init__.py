"""The training program: stages from scratch, packed into one torchrun entry point."""
