"""What runs inside the boxes. It needs the standard library alone, and nothing else of this package is there.

`program` runs what a model wrote; `judge` runs the tests, in a box of its own. They speak over one socket, of which
only the judge's end is trusted.
"""
