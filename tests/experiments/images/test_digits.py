"""Digits are parted the same way every time, and small networks learn to read them."""

import torch

from shapnotes.experiments.images import digits
from shapnotes.shapnet import ImageShapNet


def small():
    return ImageShapNet((1, 8, 8, 10), dilations=(1, 2, 4), padding=0)


def test_the_parts_are_all_digits_once():
    x, y, x_test, y_test = digits.parted()
    assert x.shape == (1300, 1, 8, 8) and x_test.shape == (497, 1, 8, 8) and len(y) == 1300 and len(y_test) == 497
    assert torch.equal(x, digits.parted()[0])
    assert len(torch.cat([x, x_test]).flatten(1).unique(dim=0)) == 1797


def test_it_learns_and_a_seed_is_a_training():
    x, y, x_test, y_test = digits.parted()
    one, again, other = (digits.fit(small(), x, y, seed, epochs=3) for seed in (1, 1, 2))
    assert (one(x_test).argmax(1) == y_test).double().mean() > 0.7
    assert torch.equal(one(x_test), again(x_test)) and not torch.equal(one(x_test), other(x_test))
    assert not any(parameter.requires_grad for parameter in one.parameters())


def test_a_penalty_is_of_all_representations():
    x, y, x_test, _ = digits.parted()
    shapes = []

    def penalty(layers):
        shapes.append([tuple(z.shape[1:]) for z in layers])
        return 10 * layers[0].square().mean()

    plain, held = (digits.fit(small(), x[:320], y[:320], 1, 1, rule) for rule in (None, penalty))
    assert len(shapes) == 10 and shapes[0] == [(8, 8, 8), (8, 8, 8), (8, 8, 10)]
    sizes = [net.layers(x_test)[0].square().mean() for net in (plain, held)]
    assert sizes[1] < sizes[0]
