"""Requests and answers in the shapes of the providers' published APIs, written out by hand."""
