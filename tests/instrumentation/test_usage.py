import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_cost.usage import Usage


def test_totals_include_what_the_conventions_include() -> None:
    usage = Usage(
        input_text_tokens=100,
        input_audio_tokens=7,
        cache_read_text_tokens=50,
        cache_read_audio_tokens=2,
        cache_write_tokens=20,
        cache_write_1h_tokens=3,
        output_text_tokens=40,
        output_reasoning_tokens=10,
        web_searches=2,
    )

    assert usage.total_input_tokens == 182
    assert usage.total_output_tokens == 50
    assert usage.cache_read_tokens == 52


def test_buckets_name_only_what_was_used_and_read_back() -> None:
    usage = Usage(input_text_tokens=100, web_searches=2)

    assert usage.buckets() == {"input_text_tokens": 100, "web_searches": 2}
    assert Usage.from_buckets(usage.buckets()) == usage


def test_a_bucket_of_a_newer_version_is_left_out() -> None:
    assert Usage.from_buckets({"output_text_tokens": 5, "holograms": 3}) == Usage(
        output_text_tokens=5
    )


def test_parts_beyond_their_whole_are_cut_and_negative_counts_are_zero() -> None:
    assert Usage.from_totals(input_tokens=10, cache_read_tokens=50, cache_write_tokens=5) == Usage(
        cache_read_text_tokens=10
    )
    assert Usage.from_totals(output_tokens=5, output_reasoning_tokens=9) == Usage(
        output_reasoning_tokens=5
    )
    assert Usage.from_totals(input_tokens=-4, web_searches=-1) == Usage()
    assert Usage.from_totals(
        input_tokens=9, cache_write_tokens=4, cache_write_1h_tokens=6
    ) == Usage(input_text_tokens=5, cache_write_1h_tokens=4)


def test_a_bucket_name_that_does_not_exist_is_a_mistake_in_the_program() -> None:
    with pytest.raises(TypeError, match="holograms"):
        Usage.from_totals(input_tokens=1, holograms=2)


def test_inclusive_totals_become_exclusive_buckets() -> None:
    usage = Usage.from_totals(
        input_tokens=1_000,
        cache_read_tokens=300,
        cache_read_audio_tokens=30,
        cache_write_tokens=50,
        cache_write_1h_tokens=20,
        input_audio_tokens=100,
        output_tokens=200,
        output_reasoning_tokens=60,
        output_audio_tokens=40,
        web_searches=3,
    )

    assert usage == Usage(
        input_text_tokens=580,
        input_audio_tokens=70,
        cache_read_text_tokens=270,
        cache_read_audio_tokens=30,
        cache_write_tokens=30,
        cache_write_1h_tokens=20,
        output_text_tokens=100,
        output_reasoning_tokens=60,
        output_audio_tokens=40,
        web_searches=3,
    )


TOTALS = [
    "input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens",
    "cache_write_1h_tokens", "output_reasoning_tokens", "input_audio_tokens",
    "input_image_tokens", "input_video_tokens", "cache_read_audio_tokens",
    "cache_read_image_tokens", "output_audio_tokens", "output_image_tokens",
    "output_video_tokens", "web_searches", "pages",
]  # fmt: skip


@given(st.dictionaries(st.sampled_from(TOTALS), st.integers(-50, 1_000)))
def test_no_token_is_lost_or_counted_twice_whatever_is_reported(totals: dict[str, int]) -> None:
    usage = Usage.from_totals(**totals)

    assert usage.total_input_tokens == max(totals.get("input_tokens", 0), 0)
    assert usage.total_output_tokens == max(totals.get("output_tokens", 0), 0)
    assert min(usage) >= 0


@given(st.lists(st.integers(0, 1_000), min_size=24, max_size=24))
def test_exclusive_buckets_come_back_from_their_inclusive_totals(counts: list[int]) -> None:
    usage = Usage._make(counts)

    again = Usage.from_totals(
        input_tokens=usage.total_input_tokens,
        output_tokens=usage.total_output_tokens,
        cache_read_tokens=usage.cache_read_tokens,
        cache_write_tokens=usage.cache_write_tokens + usage.cache_write_1h_tokens,
        cache_write_1h_tokens=usage.cache_write_1h_tokens,
        output_reasoning_tokens=usage.output_reasoning_tokens,
        input_audio_tokens=usage.input_audio_tokens + usage.cache_read_audio_tokens,
        input_image_tokens=usage.input_image_tokens + usage.cache_read_image_tokens,
        input_video_tokens=usage.input_video_tokens,
        cache_read_audio_tokens=usage.cache_read_audio_tokens,
        cache_read_image_tokens=usage.cache_read_image_tokens,
        output_audio_tokens=usage.output_audio_tokens,
        output_image_tokens=usage.output_image_tokens,
        output_video_tokens=usage.output_video_tokens,
        **dict(zip(Usage._fields[14:], usage[14:], strict=True)),
    )

    assert again == usage
