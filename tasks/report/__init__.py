"""The report: a run's story as one page, and as a picture.

Owns what people see of the store. Never touches what is forecast, and writes nothing but its pages.
"""
