from gateway.core.span import Delta
from gateway.engine.lanes import Lanes, finished

REASONING = ("choices", 0, "delta", "reasoning_content")
CONTENT = ("choices", 0, "delta", "content")
OTHER = ("choices", 1, "delta", "content")


def said(lane, text="x"):
    return [Delta(lane, text, "assistant", "content", ())]


def test_a_text_is_complete_when_its_choice_goes_on_with_another():
    lanes = Lanes()
    assert lanes.left(said(REASONING)) is None
    assert lanes.left(said(REASONING)) is None
    ends = lanes.left(said(CONTENT))
    assert (ends(REASONING), ends(CONTENT), ends(OTHER)) == (True, False, False)


def test_another_choice_and_an_empty_text_complete_nothing():
    lanes = Lanes()
    lanes.left(said(CONTENT))
    assert lanes.left(said(OTHER)) is None
    assert lanes.left(said(REASONING, "")) is None


def test_a_text_that_goes_on_after_it_was_taken_for_complete_is_not_believed_again():
    """GRD-03: a value split over two visits to a text."""
    lanes = Lanes()
    lanes.left(said(REASONING))
    assert lanes.left(said(CONTENT))(REASONING)
    assert lanes.left(said(REASONING))(CONTENT)
    assert lanes.left(said(CONTENT)) is None
    assert lanes.left(said(REASONING)) is None


def test_a_finished_choice_and_a_done_item_complete_their_texts():
    ends = finished({"choices": [{"index": 1, "finish_reason": "stop"}, {"index": 0, "finish_reason": None}]})
    assert (ends(OTHER), ends(CONTENT)) == (True, False)
    ends = finished({"type": "response.output_text.done", "output_index": 2})
    assert ends((("response.output_text.delta", 2, 0), ("delta",)))
    assert not ends((("response.output_text.delta", 1, 0), ("delta",)))
    for event in ({}, {"choices": []}, {"choices": ["odd"]}, {"type": "response.output_text.delta", "output_index": 2}):
        assert finished(event) is None
