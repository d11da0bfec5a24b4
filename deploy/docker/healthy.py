"""Ends well when the address in the first argument answers with success: a container's healthcheck.

Owns nothing, and needs nothing but Python.
"""

import sys
import urllib.request

with urllib.request.urlopen(sys.argv[1], timeout=8):  # noqa: S310 - an address of our own files
    pass
