"""What Bifrost costs, measured: `python -m benchmarks NAME`, or all of them without a name.

Machines are shared and noisy: trust the ratios, which compare two things in one run, more than the figures.
"""
