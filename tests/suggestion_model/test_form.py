"""How a line is put: which of the commonest pieces it holds, and nothing of what it is about."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from suggestion_model.authoring.form import FORM_PIECES, common_pieces, form
from suggestion_model.authoring.frozen_parts import FrozenParts
from suggestion_model.bundle import Bundle
from suggestion_model.features import LINE_TOKENS
from suggestion_model.tokenizer import PAD_ID, UNKNOWN_ID, Tokenizer


def test_a_piece_is_common_when_many_lines_hold_it_not_when_one_line_repeats_it() -> None:
    lines = np.array([[5, 7, 0, 0], [5, 9, 0, 0], [9, 9, 9, 9], [5, 1, 1, 0]], np.int32)
    assert common_pieces(lines, vocabulary=300).tolist()[:3] == [5, 9, 7]


def test_neither_padding_nor_the_unknown_piece_is_a_form() -> None:
    found = common_pieces(np.array([[1, 0, 0], [1, 4, 0]], np.int32), vocabulary=300)
    assert len(found) == FORM_PIECES
    assert not {PAD_ID, UNKNOWN_ID} & set(found.tolist())


def test_form_says_whether_a_piece_is_there_however_often() -> None:
    pieces = tf.constant([4, 5, 6])
    held = form(tf.constant([[4, 4, 9, 0], [6, 9, 5, 0], [9, 0, 0, 0]]), pieces)
    assert held.numpy().tolist() == [[1, 0, 0], [0, 1, 1], [0, 0, 0]]


def test_a_question_and_a_statement_on_one_subject_differ_and_two_questions_on_two_subjects_do_not() -> None:
    shipped = Bundle.shipped()
    tokenizer, pieces = Tokenizer(shipped.tokenizer), tf.constant(FrozenParts(shipped).form_pieces)

    def put(text: str) -> list[float]:
        return form(tf.constant(tokenizer.padded(text, LINE_TOKENS, keep="last")[None, :]), pieces).numpy()[0].tolist()

    assert put("is there a dentist in oakland?") == put("is there a florist in berkeley?")
    assert put("is there a dentist in oakland?") != put("there is a dentist in oakland")
