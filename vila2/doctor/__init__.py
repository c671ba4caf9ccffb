"""Diagnosis of an installation, with a fix for each problem."""
