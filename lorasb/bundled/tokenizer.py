"""The word-level tokenizer of the bundled model."""

from __future__ import annotations

from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import PreTrainedTokenizerFast

from lorasb.bundled import vocabulary
from lorasb.bundled.facts import RELATIONS, VALUES

PAD, EOS, UNKNOWN = "<pad>", "<eos>", "<unk>"


def words() -> list[str]:
    """All tokens in the order of their ids."""
    numbers = [str(number) for number in range(vocabulary.LARGEST_NUMBER + 1)]
    unseen = [relation.unseen for relation in RELATIONS]
    groups = (
        *((PAD, EOS, UNKNOWN), numbers, vocabulary.PUNCTUATION, vocabulary.FRAME),
        *(vocabulary.OPTIONS, vocabulary.PERSONS, vocabulary.THINGS),
        *(vocabulary.GAINS, vocabulary.LOSSES, vocabulary.CREATURES, VALUES, unseen),
        *(vocabulary.ASPECTS, vocabulary.PRAISE, vocabulary.BLAME),
    )
    return [word for group in groups for word in group]


def build_tokenizer() -> PreTrainedTokenizerFast:
    """One token a word, split at spaces; numbers are words.

    Nothing is added to a text: whoever wants a document or an answer to end appends `<eos>`.
    """
    ids = {word: index for index, word in enumerate(words())}
    tokenizer = Tokenizer(WordLevel(ids, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=PAD, eos_token=EOS, unk_token=UNKNOWN
    )
