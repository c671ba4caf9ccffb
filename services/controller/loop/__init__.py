"""The loop: one controller leads, reconciles every run, and carries rounds a step further."""
