"""Shapley Explanation Networks: Shapley values as the representations inside a network.

Examples
--------
A network is trained on its prediction, `net(x)`, as any other. Its explanation comes with it.

>>> import torch
>>> import shapnotes as sn
>>> pairs = sn.shapnet.all_pairs(4)
>>> net = sn.shapnet.ShallowShapNet(pairs, out_features=3)
>>> x = torch.rand(5, 4)
>>> values = net.explain(x).attributions
>>> values.shape  # inputs, features, outputs
torch.Size([5, 4, 3])
>>> torch.allclose(values.sum(1), net(x), atol=1e-5)
True
"""

from shapnotes.shapnet.backends import use_backend
from shapnotes.shapnet.cascade import ShapNet
from shapnotes.shapnet.deep import DeepShapNet, butterfly
from shapnotes.shapnet.groups import grouped
from shapnotes.shapnet.image_network import ImageShapNet
from shapnotes.shapnet.image_transform import ImageTransform
from shapnotes.shapnet.learned_sets import learn_active_sets, module_sizes, strip
from shapnotes.shapnet.penalties import l1_penalty, linf_penalty
from shapnotes.shapnet.pruning import Pruning, pruned
from shapnotes.shapnet.shallow import ShallowShapNet, all_pairs, singletons
from shapnotes.shapnet.shapley_module import ShapleyModule
from shapnotes.shapnet.transform import ShapleyTransform
from shapnotes.shapnet.wide import WideShapNet

__all__ = [
    "DeepShapNet",
    "ImageShapNet",
    "ImageTransform",
    "Pruning",
    "ShallowShapNet",
    "ShapNet",
    "ShapleyModule",
    "ShapleyTransform",
    "WideShapNet",
    "all_pairs",
    "butterfly",
    "grouped",
    "l1_penalty",
    "learn_active_sets",
    "linf_penalty",
    "module_sizes",
    "pruned",
    "singletons",
    "strip",
    "use_backend",
]
