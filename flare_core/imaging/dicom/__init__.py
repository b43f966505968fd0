"""One CT series from a folder of DICOM files, read with bounds.

Start at `series`. `scan` finds the series, `headers` and `elements` read headers, `pixels` turns
stored values into HU.
"""
