"""Files that live: versioned, hashed, under one home folder.

`home` says where everything is, `models` and `stage_card` what a model is, `package` how it is
found, verified and written, `archive` how it is packed and installed. `json_fields` reads JSON
into frozen dataclasses, `integrity` checks hashes and makes folders appear whole or not at all.
`cases` is the case store; `cases_*` are its parts.
"""
