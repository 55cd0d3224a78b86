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
