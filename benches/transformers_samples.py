"""Samples by transformers' generate(), as Linchpin draws them: from the whole vocabulary, nothing ends one early."""

import torch


def draw(model, ids: torch.Tensor, samples: int, tokens: int) -> int:
    """Draws after a prompt `[1, length]`; how many tokens came."""
    out = model.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        do_sample=True,
        temperature=1.0,
        top_k=0,
        top_p=1.0,
        num_return_sequences=samples,
        max_new_tokens=tokens,
        min_new_tokens=tokens,
        pad_token_id=0,
    )
    return (out.shape[1] - ids.shape[1]) * out.shape[0]
