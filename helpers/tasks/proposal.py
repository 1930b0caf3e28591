"""Which preprocessing a model probably had in training: what its metadata says, or what models of its shape take."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from helpers.tasks.interface import Interface, times
from helpers.tasks.preprocessing import KEY, Preprocessing

_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's, torchvision's and timm's default
_IMAGENET_SIDES = {224, 240, 256, 260, 288, 299, 300, 320, 336, 380, 384, 448, 456, 512, 513, 520}
_IMAGENET_CLASSES = {1000, 1001, 21841, 21843}
_SPREAD_OVER = 8  # a map of classes is at least this share of the input's side; coarser ones are features


class Answer(NamedTuple):
    """The output that says which class: its name, how many there are, and the axis along which they lie."""

    output: str
    classes: int
    axis: int


def preprocessing(model: Interface, layout: str | None = None) -> Preprocessing:
    """What the model's metadata holds since `quantize`, else a proposal.

    `layout` is for a shape that can be read both ways. Raises ValueError for a model that takes no picture.
    """
    taken = _picture(model, layout)
    if KEY in model.metadata and layout is None:
        found = taken.from_json(model.metadata[KEY], model.model)
        return _picture(model, found.layout).from_json(model.metadata[KEY], model.model)
    if "ultralytics" in model.metadata.get("author", "").lower():
        if model.metadata.get("task") == "classify":
            return replace(taken, resize="crop", source="as Ultralytics classifies")
        whole = "stretch" if "detr" in model.metadata.get("description", "").lower() else "letterbox"
        return replace(taken, resize=whole, source="as Ultralytics trains")
    one, many = class_of_picture(model), class_of_pixels(model)
    resize = "crop" if one else "stretch" if many else "letterbox"
    classes = (one or many or Answer("", 0, 1)).classes
    of_imagenet = bool(one or many) and (classes in _IMAGENET_CLASSES or taken.size[0] in _IMAGENET_SIDES)
    if of_imagenet and taken.channels == 3 and taken.dtype != "uint8" and taken.layout == "nchw":
        why = f"a guess: ImageNet's mean and std, usual for {times(taken.shape)} and {classes} classes"
        return replace(taken, resize=resize, source=why, mean=_MEAN, std=_STD)
    return replace(taken, resize=resize)


def takes_pictures(model: Interface) -> bool:
    """Whether the model has one input, 1×1×H×W or 1×3×H×W, or these with the channels last."""
    return len(model.inputs) == 1 and bool(_layout(next(iter(model.inputs.values()))))


def class_of_picture(model: Interface) -> Answer | None:
    """The output of a classifier of pictures, 1×K or 1×K×1×1 with K ≥ 2; None for another model.

    Of several outputs of one shape, such as an auxiliary head's, the first counts.
    """
    if not takes_pictures(model) or not model.outputs or len(set(model.outputs.values())) != 1:
        return None
    return class_output(model)


def class_output(model: Interface) -> Answer | None:
    """The first output if it is 1×K, or 1×K with sizes of 1 around; for any inputs."""
    name, shape = next(iter(model.outputs.items()))
    long = [axis for axis, n in enumerate(shape) if n > 1]
    fits = len(shape) >= 2 and shape[0] == 1 and len(long) == 1 and 0 not in shape
    return Answer(name, shape[long[0]], long[0]) if fits else None


def class_of_pixels(model: Interface) -> Answer | None:
    """The output of a segmentation of pictures, 1×K×H×W or 1×H×W×K; None for another model.

    K is 2 or 4 and more: three channels may as well be a picture's. H and W are at least an eighth of the input's.
    """
    if not takes_pictures(model) or len(set(model.outputs.values())) != 1:
        return None
    found, size = pixel_output(model), _picture(model).size
    if found is None or found.classes == 3:
        return None
    shape = model.outputs[found.output]
    places = shape[2:] if found.axis == 1 else shape[1:3]
    return found if all(n * _SPREAD_OVER >= side for n, side in zip(places, size, strict=True)) else None


def pixel_output(model: Interface) -> Answer | None:
    """The first output if it is 1×K×H×W, or 1×H×W×K behind channels that are last; K ≥ 2."""
    name, shape = next(iter(model.outputs.items()))
    if len(shape) != 4 or shape[0] != 1 or 0 in shape or not takes_pictures(model):
        return None
    axis = 1 if _layout(next(iter(model.inputs.values()))) == "nchw" else 3
    places = shape[2:] if axis == 1 else shape[1:3]
    return Answer(name, shape[axis], axis) if shape[axis] >= 2 and min(places) > 1 else None


def _layout(shape: tuple[int, ...]) -> str:
    """Where the channels are, of a shape that a picture can have; "" for another."""
    if len(shape) != 4 or shape[0] != 1 or 0 in shape:
        return ""
    return "nchw" if shape[1] in (1, 3) else "nhwc" if shape[3] in (1, 3) else ""


def _picture(model: Interface, layout: str | None = None) -> Preprocessing:
    """The model's input with settings that nothing has proposed; ValueError where it takes no picture."""
    if not takes_pictures(model):
        text = "a picture needs one input 1×3×H×W, 1×1×H×W or channels last; store inputs with `numpy.savez`"
        raise ValueError(f"{model.model}: {model.written}; {text}.")
    (name, shape), dtype = next(iter(model.inputs.items())), next(iter(model.dtypes.values()))
    if dtype not in ("float32", "float16", "uint8"):
        text = "a picture becomes floats or uint8; store inputs with `numpy.savez`"
        raise ValueError(f"{model.model}: input '{name}' is {dtype}; {text}.")
    layout = layout or _layout(shape)
    if shape[1 if layout == "nchw" else 3] not in (1, 3):
        raise ValueError(
            f"{model.model}: input '{name}' is {times(shape)}, whose layout is not {layout}; leave it out."
        )
    channels, size = (shape[1], shape[2:]) if layout == "nchw" else (shape[3], shape[1:3])
    range_ = "0..255" if dtype == "uint8" else "0..1"
    return Preprocessing(name, (size[0], size[1]), channels, dtype, layout=layout, range=range_)
