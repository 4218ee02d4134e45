"""Records that columns and other streams must read alike."""

from __future__ import annotations

import pytest

from videoapi.arrow.columns import call_columns
from videoapi.models.cdr import CallRecord
from videoapi.models.codec import DecodeError, RecordDecoder
from videoapi.models.column_records import ColumnDecoder


@pytest.mark.parametrize("text", [b'"null"', b'"NULL"', b'"Null"'])
def test_a_text_that_reads_none_is_no_text_of_the_column(text: bytes) -> None:
    record = b'{"cdr_id":"1","stats_quality":%b}' % text
    assert RecordDecoder(CallRecord, extra=True).decode(record).stats_quality is None
    found = ColumnDecoder().decode_list(b"[%b]" % record)
    assert found is not None
    assert call_columns(found).to_pylist()[0]["stats_quality"] is None


def test_a_record_that_other_streams_reject_is_rejected() -> None:
    record = b'{"cdr_id":"1","stats_quality":"\xff","stats_quality":{}}'
    with pytest.raises(DecodeError):
        RecordDecoder(CallRecord, extra=False).decode(record)
    with pytest.raises(DecodeError):
        ColumnDecoder().decode(record)
