"""Real servers for the tests: started on free ports in a temporary directory, ended by pid."""
