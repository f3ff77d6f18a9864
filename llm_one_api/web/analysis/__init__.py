"""`/v1/stats/{usage,top,peak-hours,requests,live}`: the books' sums and the present moment, as JSON or CSV.

desk         what the pages have in common: who asks, for what, and how it is answered
usage, …     a page each
"""
