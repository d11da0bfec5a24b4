"""Publishing outside the store: a database, a folder or bucket, a webhook; one file each.

Owns what leaves the store. Never touches a forecast's value.
"""
