"""Divides one source of captioned images into several datasets."""
