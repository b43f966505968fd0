"""Whose scan it is: a pseudonym from DICOM, or a code that a person gives."""

from __future__ import annotations

import hashlib

import slicer
from flare_core.errors import InputError
from FLARESegLib.scene.subject_place import ancestor_attribute

PATIENT_ID = "DICOM.PatientID"


def patient_key(volumeNode: slicer.vtkMRMLScalarVolumeNode) -> str:
    """Return a pseudonym made from the DICOM patient ID; empty where there is none."""
    number = ancestor_attribute(volumeNode, "Patient", PATIENT_ID).strip()
    number = number or (volumeNode.GetAttribute(PATIENT_ID) or "").strip()
    return f"patient-{hashed(number)}" if number else ""


def check_patient(patient: str) -> None:
    """Refuse a new scan of which nobody says whose it is.

    A scan named after itself would be a patient of its own, and a second scan of the same person
    could be learnt from while the first is kept aside.

    Raises
    ------
    InputError
        If `patient` is empty.
    """
    if not patient.strip():
        raise InputError(
            "patient",
            "nothing, and the scan did not come from DICOM",
            "a code that all scans of one patient share; not the patient's name",
            "Enter a code for the patient, such as P012.",
        )


def hashed(text: str) -> str:
    """Return 12 hex digits that stand for a text.

    Examples
    --------
    >>> len(hashed("MRN-4711")), hashed("MRN-4711") == hashed("MRN-4712")
    (12, False)
    """
    return hashlib.sha256(f"FLARESeg {text}".encode()).hexdigest()[:12]
