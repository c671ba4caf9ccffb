"""Captioning engines that run in this process: continuous batch, scores, and golden set."""
