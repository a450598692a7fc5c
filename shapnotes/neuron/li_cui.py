"""One normal distribution for all rates, and the offset shared out: the closed form of Li and Cui."""

import torch
from torch import Tensor


def values(terms: Tensor, offset: Tensor, shares_bias: bool = True) -> Tensor:
    """Phi((mu + b) / sigma) (a_k + b / n): terms [..., n], offset b [...] -> [..., n].

    mu and sigma are mean and standard deviation of the sum of a random prefix of the terms. The values sum to the
    Shapley Activation. Where all terms are zero, the limit: max(b, 0) / n each.

    Source: Li and Cui, equation 1.
    """
    b = offset[..., None]
    # Measured in units of the largest term, so that squares neither overflow nor vanish.
    unit = terms.detach().abs().amax(-1, keepdim=True)
    moving = unit > 0
    unit = torch.where(moving, unit, 1.0)
    scaled = terms / unit
    total = scaled.sum(-1, keepdim=True)
    variance = scaled.square().sum(-1, keepdim=True) / 6 + total.square() / 12
    sigma = torch.where(moving, variance, 1.0).sqrt()
    step = (torch.sign(b.detach()) + 1) / 2  # the limit of Phi as sigma goes to 0; one half is the middle at b = 0
    gate = torch.where(moving, torch.special.ndtr((total / 2 + b / unit) / sigma), step)
    return gate * (terms + b / terms.shape[-1] if shares_bias else terms)
