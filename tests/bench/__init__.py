"""The benchmark of `just bench`: a large company, our steps, the naive script of the same job, and
the best engines.
"""
