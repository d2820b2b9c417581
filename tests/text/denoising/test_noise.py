"""mBART's noise: how much is masked, how long spans are, what stays, and that it is always the same."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from signatlas.errors import TextError
from signatlas.text.denoising.files import fingerprint, read_lines
from signatlas.text.denoising.noise import Noise, corrupt, generator, infill, pack, span_lengths, word_starts

MASK, EOS, LANGUAGE = -1, -2, -3


def plain_words(ids: list[int], starts: list[bool]) -> list[tuple[int, ...]]:
    """Ids as words, told by hand."""
    words: list[list[int]] = []
    for id, first in zip(ids, starts, strict=True):
        if first:
            words.append([])
        words[-1].append(id)
    return [tuple(word) for word in words]


def masked_words(words: int, noise: Noise, rng: np.random.Generator) -> tuple[int, list[int]]:
    """How many of so many words are gone, and how many words each mask of a one-piece text stands for."""
    ids = list(range(words))
    corrupted = infill(ids, [True] * words, MASK, noise, rng)
    kept = [id for id in corrupted if id != MASK]
    assert kept == sorted(kept), "what stays keeps its order"
    return words - len(kept), [len(kept), corrupted.count(MASK)]


@pytest.mark.parametrize("words", [3, 8, 40, 400])
def test_a_share_of_the_words_is_masked_on_average(words):
    rng = np.random.default_rng(0)
    gone = [masked_words(words, Noise(0.35, 3.5), rng)[0] for _ in range(2000)]
    assert np.mean(gone) / words == pytest.approx(0.35, abs=0.01)
    assert max(gone) <= 0.35 * words + 1, "never more than the next whole word"


def test_spans_are_poisson_long():
    rng = np.random.default_rng(1)
    # The last span is cut to fit: leave it out. Long texts, so that stopping hardly favors long spans.
    lengths = np.concatenate([span_lengths(40_000, Noise(0.35, 3.5), rng)[:-1] for _ in range(5)])
    assert lengths.mean() == pytest.approx(3.5, rel=0.02) and lengths.var() == pytest.approx(3.5, rel=0.04)
    assert (lengths == 0).mean() == pytest.approx(np.exp(-3.5), rel=0.15), "some masks stand for nothing"


def test_spans_sum_to_what_is_to_be_masked():
    rng = np.random.default_rng(2)
    for _ in range(200):
        assert sum(span_lengths(100, Noise(0.3, 3.5), rng)) in (30, 31)


def test_one_mask_a_span_of_whole_words():
    """Each mask stands where its words were: the words between masks are those of the text."""
    tokens = ["▁mor", "gen", "▁wird", "▁es", "▁kalt", "er", "▁und", "▁wind", "ig"] * 4
    starts, ids = word_starts(tokens), list(range(len(tokens)))
    words = plain_words(ids, starts)
    for seed in range(50):
        corrupted = infill(ids, starts, MASK, Noise(0.35, 2.0), np.random.default_rng(seed))
        kept = [id for id in corrupted if id != MASK]
        whole = [word for word in words if set(word) & set(kept)]
        assert kept == [id for word in whole for id in word], "no word is masked in part"
        for a, b in itertools.pairwise(kept):
            between = corrupted[corrupted.index(a) + 1 : corrupted.index(b)]
            assert set(between) <= {MASK}
            assert b == a + 1 or between, "words that are gone leave a mask"


def test_both_ends_are_masked_alike_and_the_middle_evenly():
    """Fewer spans can reach the first and the last word than one between; beyond that no place is preferred."""
    rng, words = np.random.default_rng(3), 12
    often = np.zeros(words)
    for _ in range(4000):
        kept = {id for id in infill(list(range(words)), [True] * words, MASK, Noise(0.25, 1.0), rng) if id != MASK}
        often += [word not in kept for word in range(words)]
    assert often[0] == pytest.approx(often[-1], rel=0.1)
    assert often[2:-2].min() / often[2:-2].max() > 0.85


def test_sentences_change_places_and_the_target_does_not():
    sentences = [[10, 11, 12], [20, 21], [30, 31, 32, 33]]
    starts = [[True] * len(s) for s in sentences]
    target = [LANGUAGE, 10, 11, 12, EOS, 20, 21, EOS, 30, 31, 32, 33, EOS]
    orders = set()
    for number in range(60):
        made = corrupt(
            sentences, starts, language=LANGUAGE, eos=EOS, mask=MASK, noise=Noise(0.3, 1.0), rng=generator(0, 0, number)
        )
        assert made.target == target
        assert made.source[0] == LANGUAGE and made.source[-1] == EOS and made.source.count(EOS) == 3
        orders.add(tuple(dict.fromkeys(id // 10 for id in made.source if id > 0)))
    assert len({order for order in orders if len(order) == 3}) == 6, "all orders come"


def test_without_permutation_sentences_stay():
    for number in range(20):
        made = corrupt(
            [[10, 11], [20, 21]], [[True, True]] * 2, language=LANGUAGE, eos=EOS, mask=MASK,
            noise=Noise(0.3, 1.0, permute=False), rng=generator(0, 0, number),
        )  # fmt: skip
        kept = [id for id in made.source if id > 0]
        assert kept == sorted(kept)


def test_the_same_by_seed_epoch_and_text():
    ids, starts = list(range(60)), [True] * 60

    def draw(*key: int) -> list[int]:
        return infill(ids, starts, MASK, Noise(), generator(*key))

    assert draw(1, 2, 3) == draw(1, 2, 3)
    assert len({tuple(draw(*key)) for key in [(1, 2, 3), (0, 2, 3), (1, 0, 3), (1, 2, 0)]}) == 4


def test_instances_hold_all_texts_once_in_order():
    rng = np.random.default_rng(0)
    numbers, lengths = list(range(100)), [5] * 100
    instances = pack(numbers, lengths, 3, 1000, rng)
    assert [n for texts in instances for n in texts] == numbers
    sizes = [len(texts) for texts in instances[:-1]]
    assert set(sizes) == {1, 2, 3}
    assert max(len(texts) for texts in pack(numbers, lengths, 3, 13, rng)) == 2, "language, 2 x (5 and </s>)"
    assert [len(texts) for texts in pack(numbers, [500] * 100, 3, 13, rng)] == [1] * 100, "a long one is alone"


def test_scripts_without_spaces_are_masked_by_pieces():
    assert word_starts(["▁明天", "下雨", "ab", "c"]) == [True, True, False, False]
    assert word_starts(["gen", "de"]) == [True, False], "a text begins with a word"


def test_lines_of_a_text_file(tmp_path):
    path = tmp_path / "more.txt"
    path.write_bytes("\ufeffEins.\r\n\r\n  Zwei.  \nDrei Ä".encode())
    assert read_lines(str(path)) == ["Eins.", "Zwei.", "Drei Ä"]


@pytest.mark.parametrize(
    ("content", "says"), [(None, "cannot be read"), (b" \n\n", "has no text"), ("Ä".encode("latin-1"), "not UTF-8")]
)
def test_unusable_text_files_are_one_line(tmp_path, content, says):
    path = tmp_path / "more.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(TextError, match=says) as caught:
        read_lines(str(path))
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_other_files_are_another_fingerprint(tmp_path):
    path = tmp_path / "more.txt"
    path.write_text("Eins.")
    first = fingerprint("abc", [str(path)])
    path.write_text("Zwei.")
    assert len({"abc", first, fingerprint("abc", [str(path)])}) == 3 and fingerprint("abc", []) == "abc"
