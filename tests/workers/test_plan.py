"""The key of a spec alone decides about its shard."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from videoapi import RoomSpec
from videoapi.sharding.plan import shards_of
from videoapi.sharding.spec_json import specs_from_json


def names(job_id: str, keys: list[int], count: int) -> dict[int, str]:
    shards = shards_of(job_id, list(enumerate(RoomSpec("Room", key=key) for key in keys)), count)
    return {spec.key: shard.name for shard in shards for spec in specs_from_json(shard.specs)}


@given(st.sets(st.integers(), min_size=1, max_size=40), st.data(), st.integers(1, 9))
def test_a_spec_stays_in_its_shard_whatever_else_is_in_the_job(keys: set[int], data: st.DataObject, count: int) -> None:
    everything = names("job", sorted(keys), count)
    kept = data.draw(st.permutations(sorted(data.draw(st.sets(st.sampled_from(sorted(keys)), min_size=1)))))
    assert names("job", kept, count) == {key: everything[key] for key in kept}


def test_each_spec_is_in_one_shard_under_its_position() -> None:
    specs = [RoomSpec(f"Room {number}", key=number) for number in range(1000)]
    shards = shards_of("job", enumerate(specs), 7)
    assert sorted(index for shard in shards for index in shard.indices) == list(range(1000))
    for shard in shards:
        assert [spec.name for spec in specs_from_json(shard.specs)] == [f"Room {index}" for index in shard.indices]
    sizes = [len(shard.indices) for shard in shards]
    assert len(shards) == 7
    assert max(sizes) < 2 * min(sizes)


def test_empty_shards_are_left_out() -> None:
    assert shards_of("job", [], 4) == []
    assert len(shards_of("job", [(0, RoomSpec("Room", key=1))], 4)) == 1
