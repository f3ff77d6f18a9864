"""Alerts: rules over figures of the ledger, looked at every minute, and told to channels.

rules        what is asked of a figure, and who is told
figures      what the figures are just now
judging      what follows from a figure, and who is told: pure, time is an argument
check        a turn: figures, judgements, what is kept of them
wording      what is told, as text and as JSON
delivering   each channel gets what is for it, in order, with tries again
sending      one message to one channel, in a process of its own
sender       that process
signing      signatures of webhooks
"""
