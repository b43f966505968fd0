"""Pictures and pages of a result: the overlay montage, charts, one HTML page per case or cohort."""
