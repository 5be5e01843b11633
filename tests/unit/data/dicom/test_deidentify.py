# SPDX-License-Identifier: Apache-2.0
"""Which files tell who their patient is, and that the check itself never does."""

from __future__ import annotations

import io
import json

import pydicom
import pytest
from pydicom.datadict import tag_for_keyword

from helpers import dicom_files as files
from medix_verl.data.dicom.decode import open_dicom
from medix_verl.data.dicom.deidentify import TABLE, Identity, look_for_identity, refusal_of, table

MOVED = {"PatientIdentityRemoved": "YES", "LongitudinalTemporalInformationModified": "MODIFIED"}


def look(**tags: object) -> Identity:
    """What a file tells that was written and read."""
    return look_for_identity(open_dicom(io.BytesIO(files.encode(files.dataset(**tags)))))


def test_a_file_without_a_person_tells_nothing() -> None:
    found = look()
    assert found == Identity((), "unsaid", False, False)
    assert refusal_of(found) is None


@pytest.mark.parametrize(
    ("tag", "value"),
    [
        ("PatientName", "Kowalski^Anna"),
        ("PatientID", "83120412345"),
        ("PatientBirthDate", "19831204"),
        ("OtherPatientIDs", ["X12345", "Y998877"]),
        ("OtherPatientNames", "Nowak^Anna"),
        ("PatientAddress", "1 Long Street"),
        ("PatientTelephoneNumbers", "+48 22 000000"),
        ("AccessionNumber", "ACC2020123"),
        ("StudyDate", "20200131"),
        ("AcquisitionDateTime", "20200131120000"),
        ("InstitutionName", "Some Hospital"),
        ("InstitutionAddress", "2 Long Street"),
        ("ReferringPhysicianName", "House^Gregory"),
        ("OperatorsName", "Nurse^A"),
        ("PhysiciansOfRecord", ["Strange^S", "Who^D"]),
        ("StationName", "CT-EAST-2"),
        ("PatientComments", "neighbour of the mayor"),
        ("FrameComments", "neighbour of the mayor"),
        ("AcquisitionComments", "neighbour of the mayor"),
        ("CommentsOnTheScheduledProcedureStep", "neighbour of the mayor"),
        ("InterpretationText", "the mayor's neighbour has a nodule"),
        ("InterpretationDiagnosisDescription", "the mayor's neighbour has a nodule"),
        ("Impressions", "the mayor's neighbour has a nodule"),
        ("ReasonForTheRequestedProcedure", "fell on the mayor"),
        ("TextValue", "neighbour of the mayor"),
        ("DoseComment", "neighbour of the mayor"),
        ("PatientAge", "093Y"),
    ],
)
def test_patient_data_is_found_and_its_value_never_told(tag: str, value: object) -> None:
    found = look(**{tag: value})
    refusal = refusal_of(found)
    assert found.tags == (tag,) and refusal is not None and refusal.reason == "patient data"
    assert refusal.detail.startswith(f"{tag} hold patient data; de-identify the file first, or give --allow-identified")
    values = [str(item) for item in (value if isinstance(value, list) else [value])]
    assert not any(part in f"{found}{refusal}" for text in values for part in text.split("^"))
    assert refusal_of(found, allow_identified=True) is None


@pytest.mark.parametrize(
    ("tag", "value"),
    [
        ("PatientName", "ANONYMOUS"),
        ("PatientName", "Anon^12"),
        ("PatientName", "sub-0012"),
        ("PatientID", "0123456789abcdef0123456789abcdef"),
        ("PatientID", "1.2.826.0.1.3680043.8.498.77"),
        ("PatientID", "007"),
        ("InstitutionName", "REMOVED"),
        ("PatientBirthDate", "19000101"),
        ("PatientAge", "089Y"),
        ("PatientAge", "011M"),
        ("StudyTime", "120000"),
        ("DateOfLastCalibration", "20200101"),
        ("StudyDescription", "CT THORAX"),
        ("PatientName", "   "),
    ],
)
def test_anonymised_forms_and_harmless_tags_pass(tag: str, value: str) -> None:
    assert look(**{tag: value}).tags == ()


def test_identity_removed_is_honoured_for_pseudonyms_texts_and_moved_dates_only() -> None:
    pseudonyms = {"PatientID": "TCGA-17-Z011", "AccessionNumber": "A9912345", "ImageComments": "cleaned"}
    assert look(**pseudonyms).tags == ("AccessionNumber", "ImageComments", "PatientID")
    assert look(PatientIdentityRemoved="YES", PatientName="TCGA-17-Z011", **pseudonyms).tags == ()
    assert look(PatientIdentityRemoved="YES", StudyDate="20200131").tags == ("StudyDate",)
    assert look(**MOVED, StudyDate="20200131").tags == ()
    given = look(**MOVED, PatientName="Kowalski^Anna", PatientBirthDate="19831204", InstitutionName="Some Hospital")
    assert given.tags == ("InstitutionName", "PatientBirthDate", "PatientName")


def test_sequences_are_looked_through() -> None:
    inner = files.item(PatientID="83120412345", IssuerOfPatientID="Hospital")
    assert look(OtherPatientIDsSequence=[inner]).tags == ("IssuerOfPatientID", "OtherPatientIDsSequence", "PatientID")
    deep = files.item(ReferencedStudySequence=[files.item(ReferringPhysicianName="House^G")])
    assert look(RequestAttributesSequence=[deep]).tags == ("ReferringPhysicianName",)
    assert look(OtherPatientIDsSequence=[]).tags == ()


def test_a_name_under_any_tag_of_names_is_found() -> None:
    assert look(ContentCreatorName="Kowalski^Anna").tags == ("ContentCreatorName",)


def test_a_name_inside_a_private_tag_is_found() -> None:
    file = files.dataset()
    block = file.private_block(0x0011, "MAKER", create=True)
    block.add_new(0x01, "LO", "anything")
    block.add_new(0x02, "SQ", [files.item(PatientName="Kowalski^Anna")])
    found = look_for_identity(file)
    assert found.tags == ("PatientName",)
    # The LO and the sequence; the creator's own tag names no patient.
    assert found.private == 2


def test_private_tags_are_counted_and_told() -> None:
    file = files.dataset(PatientID="83120412345")
    block = file.private_block(0x0011, "MAKER", create=True)
    for number, value in enumerate(("Kowalski", "", "x")):
        block.add_new(number, "LO", value)
    found = look_for_identity(file)
    refusal = refusal_of(found)
    assert found.private == 2 and refusal is not None
    assert refusal.detail.endswith("; it has 2 private tags, too") and "Kowalski" not in refusal.detail
    clean = files.dataset()
    clean.private_block(0x0011, "MAKER", create=True).add_new(1, "LO", "x")
    assert look_for_identity(clean).private == 1 and refusal_of(look_for_identity(clean)) is None


@pytest.mark.parametrize("group", [0x6000, 0x6002, 0x601E])
def test_a_comment_in_a_repeating_group_is_found(group: int) -> None:
    file = files.dataset()
    file.add_new((group, 0x4000), "LT", "neighbour of the mayor")
    assert look_for_identity(file).tags == ("OverlayComments",)


@pytest.mark.parametrize(
    ("tags", "state", "reason"),
    [
        ({"BurnedInAnnotation": "YES"}, "yes", "burnt-in text"),
        ({"BurnedInAnnotation": "YES", "Modality": "US"}, "yes", "burnt-in text"),
        ({"BurnedInAnnotation": "NO", "Modality": "US"}, "no", None),
        ({"Modality": "US"}, "unknown", "burnt-in text unknown"),
        ({"Modality": "XA"}, "unknown", "burnt-in text unknown"),
        ({"SOPClassUID": files.SECONDARY_CAPTURE}, "unknown", "burnt-in text unknown"),
        ({"SOPClassUID": f"{files.SECONDARY_CAPTURE}.2"}, "unknown", "burnt-in text unknown"),
        ({"ImageType": ["DERIVED", "SECONDARY", "SCREEN SAVE"]}, "unknown", "burnt-in text unknown"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"]}, "unsaid", None),
        ({"RecognizableVisualFeatures": "YES"}, "unsaid", "recognisable face"),
    ],
)
def test_text_in_the_pixels_goes_by_what_the_file_says(tags: dict[str, object], state: str, reason: str | None) -> None:
    found = look(**tags)
    refusal = refusal_of(found)
    assert found.burnt_in == state and (None if refusal is None else refusal.reason) == reason


def test_only_what_is_unknown_can_be_accepted_as_unknown() -> None:
    refusal = refusal_of(look(Modality="US"))
    assert refusal is not None and "give --set burnt_in_unknown=accept" in refusal.detail
    assert refusal_of(look(Modality="US"), accept_unknown=True) is None
    assert refusal_of(look(BurnedInAnnotation="YES"), accept_unknown=True) is not None
    assert refusal_of(look(Modality="US", PatientName="Kowalski^Anna"), accept_unknown=True) is not None
    assert refusal_of(look(BurnedInAnnotation="YES"), allow_identified=True) is None


def test_many_tags_are_named_in_part() -> None:
    names = [
        "PatientAddress",
        "PatientBirthDate",
        "PatientComments",
        "PatientID",
        "PatientName",
        "StationName",
        "StudyDate",
    ]
    detail = getattr(refusal_of(Identity(tuple(names), "no", False, False)), "detail", "")
    assert "StationName and 1 more hold patient data" in detail


def test_an_element_that_cannot_be_read_counts_as_patient_data() -> None:
    file = files.dataset()
    file[0x00100030] = pydicom.dataelem.RawDataElement(
        pydicom.tag.Tag(0x00100030), "DA", 8, object(), 0, False, True, True  # type: ignore[arg-type]  # corrupt
    )  # fmt: skip
    assert look_for_identity(file).tags == ("PatientBirthDate",)


def test_every_tag_of_the_table_is_one_of_the_standard() -> None:
    lists = table()
    named = ("identifiers", "persons", "places", "free_texts", "births", "harmless_dates")
    assert [name for group in named for name in lists[group] if tag_for_keyword(name) is None] == []
    content = json.loads(TABLE.read_text(encoding="utf-8"))
    assert "PS3.15 Annex E" in content["source"] and content["left_out"]
    listed = [name for group in named for name in content[group]]
    assert len(listed) == len(set(listed))
