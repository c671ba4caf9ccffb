"""Engines that caption in this process: the continuous batch, scores, and the golden set."""
