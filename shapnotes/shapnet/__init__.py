"""Shapley Explanation Networks: Shapley values as the representations inside a network."""

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
