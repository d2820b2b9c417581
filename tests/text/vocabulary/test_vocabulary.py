"""Vocabularies of mBART: training, rows, decoding, languages, and what no vocabulary can be."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from signatlas.errors import ModelError, TextError
from signatlas.text.vocabulary.vocabulary import CODES, Vocabulary, language_code, one_line

TEXTS = [
    "Morgen regnet es im Norden.", "Im Süden scheint morgen die Sonne!", "Der Wind weht schwach, später kräftig.",
    "Am Abend schneit es in den Bergen.", "Heute Nacht wird es kalt: minus drei Grad.", "Mein Hut liegt im Garten.",
]  # fmt: skip


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    return Vocabulary.train(TEXTS, 120, ["de", "en"])


def test_ids_are_in_the_order_of_mbart_50(vocabulary):
    assert (vocabulary.bos, vocabulary.pad, vocabulary.eos, vocabulary.unk) == (0, 1, 2, 3)
    assert vocabulary.mask == vocabulary.size - 1
    assert vocabulary.tokens([vocabulary.language_id("de"), vocabulary.language_id("en")]) == ["de_DE", "en_XX"]
    assert vocabulary.size <= 120 and vocabulary.languages == ("de", "en")


def test_rows_open_with_the_language_and_end(vocabulary):
    ids, mask = vocabulary.encode([TEXTS[0], "Sonne"], "de")
    assert ids[:, 0].tolist() == [vocabulary.language_id("de")] * 2
    for row, seen in zip(ids, mask, strict=True):
        assert row[seen][-1] == vocabulary.eos and (row[~seen] == vocabulary.pad).all()
    assert not mask[1].all() and mask[0].all(), "the short one is padded"


def test_texts_come_back(vocabulary):
    ids, _ = vocabulary.encode(TEXTS, "de")
    assert vocabulary.decode(ids) == TEXTS
    assert vocabulary.unknown_rate(TEXTS) == 0


def test_words_are_cut_into_the_likeliest_pieces(vocabulary):
    pieces = dict(map(tuple, json.loads(vocabulary.tokenizer.to_str())["model"]["vocab"]))
    for text, row in zip(TEXTS, vocabulary.pieces(TEXTS), strict=True):
        for word in text.split():
            best = max(sum(pieces[p] for p in cut) for cut in _cuts("▁" + word, pieces))
            taken = vocabulary.pieces([word])[0]
            assert sum(pieces[t] for t in vocabulary.tokens(taken)) == pytest.approx(best)
        assert "".join(vocabulary.tokens(row)).replace("▁", " ").strip() == text


def _cuts(word: str, pieces: dict[str, float]):
    if not word:
        yield []
    for end in range(1, len(word) + 1):
        if word[:end] in pieces:
            for rest in _cuts(word[end:], pieces):
                yield [word[:end], *rest]


def test_the_same_texts_give_the_same_vocabulary_in_any_order(vocabulary):
    again = Vocabulary.train(TEXTS[::-1], 120, ["de", "en"])
    assert again.tokenizer.to_str() == vocabulary.tokenizer.to_str()


def test_a_vocabulary_is_as_small_as_few_texts_make_it():
    small = Vocabulary.train(TEXTS, 5000, ["de"])
    assert small.size < 200 and small.unknown_rate(TEXTS) == 0


def test_long_texts_count_in_full():
    """SentencePiece leaves out sentences above 4192 bytes unless told otherwise."""
    assert Vocabulary.train(["wort " * 2000 + "Ökologie"], 40, ["de"]).unknown_rate(["Ökologie"]) == 0


def test_long_rows_are_cut_before_the_end(vocabulary):
    ids, _ = vocabulary.encode([TEXTS[1]], "de", max_tokens=6)
    whole, _ = vocabulary.encode([TEXTS[1]], "de")
    assert ids[0].tolist() == [*whole[0, :5].tolist(), vocabulary.eos]
    lengths = [int(m.sum()) for m in vocabulary.encode(TEXTS, "de")[1]]
    assert vocabulary.long_rate(TEXTS, min(lengths)) == pytest.approx(sum(n > min(lengths) for n in lengths) / 6)
    assert vocabulary.long_rate(TEXTS, max(lengths)) == 0


def test_decoding_stops_at_the_first_end_after_the_start(vocabulary):
    start, de, end = vocabulary.eos, vocabulary.language_id("de"), vocabulary.eos
    sun = vocabulary.pieces(["Sonne"])[0]
    assert vocabulary.decode([[start, de, *sun, end, *sun], [de, *sun, end], [start, de, end], []]) == [
        "Sonne", "Sonne", "", "",
    ]  # fmt: skip


def test_names_of_marks_in_a_text_are_no_marks(vocabulary):
    row = vocabulary.pieces(["Sonne </s> <mask> de_DE"])[0]
    special = {vocabulary.eos, vocabulary.mask, vocabulary.pad, vocabulary.language_id("de")}
    assert not special & set(row)


def test_unknown_characters_are_told(vocabulary):
    assert vocabulary.unknown_rate(["Ж"]) > 0
    assert vocabulary.unknown_rate([]) == 0


def test_saved_and_loaded(vocabulary, tmp_path):
    vocabulary.save(tmp_path)
    for loaded in (Vocabulary.load(tmp_path), Vocabulary.pretrained(tmp_path)):
        assert loaded.encode(TEXTS, "de")[0].equal(vocabulary.encode(TEXTS, "de")[0])
        assert loaded.made == vocabulary.made and loaded.languages == vocabulary.languages


def test_transformers_reads_the_folder(vocabulary, tmp_path):
    from transformers import AutoTokenizer

    vocabulary.save(tmp_path)
    plain = AutoTokenizer.from_pretrained(tmp_path)
    assert plain(TEXTS, add_special_tokens=False)["input_ids"] == vocabulary.pieces(TEXTS)
    assert (plain.pad_token_id, plain.eos_token_id, plain.mask_token_id) == (1, 2, vocabulary.mask)


def test_the_sentencepiece_file_of_mbart_50_is_read(tmp_path):
    """What the Hub has of mBART-50: SentencePiece's file, to which marks and 52 languages are added."""
    import sentencepiece

    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXTS), model_prefix=str(tmp_path / "sentencepiece.bpe"), vocab_size=100,
        model_type="unigram", hard_vocab_limit=False, num_threads=1, minloglevel=2,
    )  # fmt: skip
    made = Vocabulary.pretrained(tmp_path)
    assert len(made.languages) == 52 and made.mask == made.size - 1
    model = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "sentencepiece.bpe.model"))
    ids, _ = made.encode(TEXTS, "de")
    for text, row in zip(TEXTS, ids, strict=True):
        kept = row[row != made.pad].tolist()
        assert kept[0] == made.language_id("de") and kept[-1] == made.eos
        assert made.tokens(kept[1:-1]) == model.encode(text, out_type=str)
        assert kept[1:-1] == [i + 1 for i in model.encode(text)], "fairseq's ids are SentencePiece's and one"
    assert made.decode(ids) == TEXTS
    # SentencePiece's own NFKC, by its table: full width, a ligature, an ideographic space.
    odd = ["Ｓonne ﬁel　Morgen"]
    assert made.tokens(made.pieces(odd)[0]) == model.encode(odd[0], out_type=str)


@pytest.mark.parametrize("file", ["sentencepiece.bpe.model", "tokenizer.json"])
def test_a_damaged_file_of_others_is_one_line(tmp_path, file):
    (tmp_path / file).write_bytes(b"\x0a\xff nothing")
    with pytest.raises(ModelError, match="damaged") as caught:
        Vocabulary.pretrained(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("languages", "taken"), [(52, True), (25, False)])
def test_the_tokenizer_file_of_mbart_50_is_read_and_that_of_mbart_25_is_not(tmp_path, languages, taken):
    tags = [code.split("_")[0] for code in CODES.split()][:languages]
    made = Vocabulary.train(TEXTS, 200, tags)
    made.tokenizer.save(str(tmp_path / "tokenizer.json"))
    if taken:
        assert Vocabulary.pretrained(tmp_path).encode(TEXTS, "de")[0].equal(made.encode(TEXTS, "de")[0])
        return
    with pytest.raises(ModelError, match="25 of the 52 language codes"):
        Vocabulary.pretrained(tmp_path)


def test_a_folder_without_a_vocabulary_is_one_line(tmp_path):
    with pytest.raises(ModelError, match="has neither"):
        Vocabulary.pretrained(tmp_path)


@pytest.mark.parametrize(
    ("tag", "code"), [("de", "de_DE"), ("DE", "de_DE"), ("zh-Hans", "zh_CN"), ("en-GB", "en_XX"), ("da", "da_XX")]
)
def test_language_codes(tag, code):
    assert language_code(tag) == code


def test_white_space_and_forms_of_letters_are_one():
    assert one_line(" Sonne\n\tund  ＷＩＮＤ ") == "Sonne und WIND"


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Vocabulary.train([], 100, ["de"]), "texts are empty"),
        (lambda: Vocabulary.train([" ", ""], 100, ["de"]), "texts are empty"),
        (lambda: Vocabulary.train(TEXTS, 20, ["de"]), "is too small for"),
        (lambda: Vocabulary.train(TEXTS, 100, ["german"]), "did you mean de"),
        (lambda: Vocabulary.train(TEXTS, 100, ["de"]).encode(["Sonne"], "fr"), "does not know language 'fr', only de"),
        (lambda: Vocabulary.train(TEXTS, 100, ["de"]).encode(["Sonne", "  "], "de"), "text 2 of 2 is empty"),
        (lambda: Vocabulary.load("nowhere"), "missing or damaged"),
    ],
)
def test_mistakes_are_one_line(make, says):
    with pytest.raises((TextError, ModelError)) as caught:
        make()
    assert says in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("damage", ["vocabulary.json", "tokenizer.json"])
def test_a_damaged_folder_is_one_line(vocabulary, tmp_path: Path, damage):
    vocabulary.save(tmp_path)
    (tmp_path / damage).write_text("{")
    with pytest.raises(ModelError, match="missing or damaged") as caught:
        Vocabulary.load(tmp_path)
    assert "\n" not in str(caught.value)
