"""Two small tokenizers trained on a page of text: byte-level BPE (Llama 3, Qwen) and the SentencePiece kind (Llama 2)."""

import json

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

TEXT = """\
Question: A baker has 24 rolls. She sells 7 of them in the morning and bakes 12 more at noon. How many rolls are left?
Answer: She starts with 24 rolls. After selling 7 there are 24 - 7 = 17 rolls. After baking 12 more there are 17 + 12 = 29.
The answer is 29.
Question: Three boxes hold 15 pencils each. Two boxes are given away. How many pencils remain?
Answer: There are 3 * 15 = 45 pencils in all. The two boxes given away hold 2 * 15 = 30 pencils. So 45 - 30 = 15 remain.
The answer is 15.
Question: A train leaves at 9 and arrives at 14. It stops for one hour. For how many hours does it move?
Answer: The journey takes 14 - 9 = 5 hours. Without the stop it moves for 5 - 1 = 4 hours. The answer is 4.
"""
SPECIALS = ["<unk>", "<s>", "</s>"]
SIZE = 420


def byte_level() -> PreTrainedTokenizerFast:
    """GPT-2's kind: every byte has a token, blanks belong to the word after them, nothing is put in front."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=SIZE, special_tokens=SPECIALS, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator([TEXT], trainer)
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", chat_template=CHAT_TEMPLATE
    )


def sentencepiece_like() -> PreTrainedTokenizerFast:
    """Llama 2's kind: "▁" for blanks and one in front, bytes only where no piece fits, and a first token <s>."""
    mark = [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    byte_pieces = [f"<0x{byte:02X}>" for byte in range(256)]
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence(mark)
    tokenizer.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")  # for training only: pieces keep to words
    trainer = trainers.BpeTrainer(vocab_size=SIZE, special_tokens=SPECIALS + byte_pieces, show_progress=False)
    tokenizer.train_from_iterator([TEXT.replace("\n", " ")], trainer)
    tokenizer.pre_tokenizer = None
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", tokenizer.token_to_id("<s>"))]
    )
    # Byte pieces are ordinary pieces: left among the added tokens, they would match a literal "<0x41>" in a text.
    written = json.loads(tokenizer.to_str())
    written["added_tokens"] = [token for token in written["added_tokens"] if token["content"] in SPECIALS]
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(written)),
        unk_token="<unk>",
        bos_token=AddedToken("<s>", special=True),
        eos_token="</s>",
        chat_template=CHAT_TEMPLATE,
    )


CHAT_TEMPLATE = """\
{%- for message in messages -%}
[{{ message['role'] }}] {{ message['content'] | trim }}
{% endfor -%}
{%- if add_generation_prompt -%}[assistant] {%- endif -%}"""
