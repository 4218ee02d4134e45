"""Which columns of a table are never folded."""

from hypothesis import given
from hypothesis import strategies as st

from videoapi.cli.tables import whole_columns


@given(
    st.lists(st.tuples(st.sampled_from(["room_id", "owner_ref", "name", "kind"]), st.integers(1, 60)), min_size=1),
    st.integers(20, 200),
)
def test_columns_that_are_whole_fit(columns: list[tuple[str, int]], limit: int) -> None:
    header, widths = zip(*[(name, max(width, len(name))) for name, width in columns], strict=True)
    whole = whole_columns(header, widths, limit)
    least = sum(
        width if name == "room_id" else min(width, max(len(name), 6))
        for name, width in zip(header, widths, strict=True)
    )
    assert (whole is None) == (least + 2 * len(header) > limit)
    assert whole is None or "room_id" in whole or "room_id" not in header
