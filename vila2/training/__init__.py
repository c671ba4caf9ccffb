"""The training program: all stages of a training behind one torchrun entry point."""
