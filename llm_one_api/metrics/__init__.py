"""What Prometheus is told: the ledger's sums as counters that never fall, and how the gateways are just now.

names       which metrics there are
labels      which values labels may have
spreads     the ledger's counts of times as histograms
sums        what the ledger tells
quotas      how full quotas are
live        what the gateway processes tell through Redis
journals    how records get on, on this machine and on others
sources     reads each of them beside scrapes, so that none waits for one that does not answer
exporter    joins them up
serving     the HTTP side
"""
