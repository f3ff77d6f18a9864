"""Which limits there are: pure values, read by the gateway, the books and the command line.

rules      which sets of limits hold for a call
windows    the days and months that quotas are counted in, and their names
money      USD as they are counted
charging   what a finished call is charged
"""
