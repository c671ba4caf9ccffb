"""Who may do what: teams, users, keys, limits, and the record of what was done.

Every service process opens this module's one database, to check the keys of its own requests; what
is changed in it is changed through the controller's routes.
"""
