"""Charts as SVG text: they need no library, stay sharp when printed, and sit inside a page.

Start at `svg`: the elements and colours that all charts are drawn with; `axis` places values. A
chart takes plain values and knows nothing of what it shows. It may use numpy and the organ table.
"""
