"""A platform's rows, objects and files in one folder, and a platform made of them again.

Objects are immutable and written before the rows that name them. So the rows of one moment, with
all objects that were there before and all that came until after it, name nothing that is missing;
what is too much is garbage that nobody reads.
"""
