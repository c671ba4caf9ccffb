"""The types of REST, recipes and job specs, each defined once; they import nothing else of ours."""
