import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms as v1
from torchvision.models import EfficientNet_B0_Weights, ResNet18_Weights
from torchvision.transforms import InterpolationMode, v2

from ipr.data.images import normalise
from ipr.data.preprocessing import Preprocessing, preprocessing_of
from ipr.errors import InputError

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def picture(height=61, width=47, mode="RGB", seed=0):
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 4), dtype=np.uint8)
    return Image.fromarray(noise).convert(mode)


TENSOR = v1.ToTensor()

PIPELINES = {
    "v1": v1.Compose([v1.Resize(40), v1.CenterCrop(32), v1.ToTensor(), v1.Normalize(MEAN, STD)]),
    "v2": v2.Compose(
        [
            v2.Resize((40, 36), InterpolationMode.BICUBIC),
            v2.CenterCrop(32),
            v2.ToImage(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(MEAN, STD),
        ]
    ),
    "square": v1.Compose([v1.Resize((28, 28), InterpolationMode.NEAREST), v1.ToTensor()]),
    "list": v1.Compose([v1.Resize([33], InterpolationMode.LANCZOS), v1.CenterCrop((32, 32)), v1.ToTensor()]),
    "padded": v1.Compose([v1.Resize(20), v1.CenterCrop(64), v1.ToTensor()]),
    "crop alone": v1.Compose([v1.CenterCrop(32), v1.PILToTensor(), v1.ConvertImageDtype(torch.float32)]),
    "nested": v1.Compose([v1.Compose([v1.Resize(40), v1.CenterCrop(32)]), v1.ToTensor(), torch.nn.Identity()]),
    "of 255": v1.Compose([
        v1.Resize(40, InterpolationMode.BOX), v1.CenterCrop(32), v1.PILToTensor(),
        v2.ToDtype(torch.float32, scale=False), v1.Normalize([123.7, 116.3, 103.5], [58.4, 57.1, 57.4]),
    ]),
    "grey first": v1.Compose([v1.Grayscale(), v1.Resize(40), v1.CenterCrop(32), TENSOR, v1.Normalize(0.5, 0.5)]),
    "grey last": v1.Compose([v1.Resize(40), v1.CenterCrop(32), v1.Grayscale(), v1.ToTensor()]),
    "grey thrice": v2.Compose([v2.Resize(40), v2.Grayscale(3), v2.CenterCrop(32), TENSOR, v1.Normalize(MEAN, STD)]),
    "one for all": v1.Compose([v1.Resize(40), v1.CenterCrop(32), v1.ToTensor(), v1.Normalize((0.5,), (0.25,))]),
    "preset": ResNet18_Weights.DEFAULT.transforms(crop_size=32, resize_size=40),
    "bicubic preset": EfficientNet_B0_Weights.DEFAULT.transforms(),
}  # fmt: skip


@pytest.mark.parametrize("name", PIPELINES)
@pytest.mark.parametrize(("height", "width"), [(61, 47), (47, 61), (200, 30), (32, 32)])
@pytest.mark.parametrize("mode", ["RGB", "L", "P"])
def test_a_transform_of_torchvision_is_told_to_the_bit(name, height, width, mode):
    transform, shown = PIPELINES[name], picture(height, width, mode)
    expected = transform(shown.convert("RGB"))  # as torchvision.datasets.ImageFolder reads it
    told = preprocessing_of(transform)
    pixels = told.pixels(shown)
    assert pixels.dtype == torch.uint8
    assert pixels.shape[:2] == (told.image_size, told.image_size) == expected.shape[1:]
    plain = (expected * torch.tensor(told.std)[:, None, None] + torch.tensor(told.mean)[:, None, None]) * 255
    assert torch.equal(pixels.permute(2, 0, 1), plain.round().to(torch.uint8))
    torch.testing.assert_close(normalise(pixels[None], told.mean, told.std)[0], expected, rtol=0, atol=2e-5)


def test_pixels_are_those_of_functions_of_pillow_alone():
    shown = picture(50, 80)
    resized = shown.resize((64, 40), Image.Resampling.BILINEAR).crop((16, 4, 48, 36))
    assert np.array_equal(Preprocessing(40, crop=32).pixels(shown).numpy(), np.asarray(resized))
    straight = shown.resize((32, 32), Image.Resampling.BILINEAR)
    assert np.array_equal(Preprocessing().pixels(shown, 32).numpy(), np.asarray(straight))
    assert np.array_equal(Preprocessing(channels="BGR").pixels(shown, 32).numpy(), np.asarray(straight)[..., ::-1])


@pytest.mark.parametrize("name", PIPELINES)
def test_it_is_stored_and_read_back(name):
    told = preprocessing_of(PIPELINES[name])
    assert Preprocessing.from_stored(json.loads(json.dumps(told.stored()))) == told


@pytest.mark.parametrize(
    ("transform", "named", "remedy"),
    [
        (v1.Compose([v1.RandomCrop(32), TENSOR]), "RandomCrop", "test images"),
        (v2.Compose([v2.RandomHorizontalFlip(), TENSOR]), "RandomHorizontalFlip", "test images"),
        (v1.Compose([v1.ColorJitter(), TENSOR]), "ColorJitter", "test images"),
        (v1.Compose([v1.Lambda(abs), TENSOR]), "Lambda", "Preprocessing of your own"),
        (v1.Compose([TENSOR, v1.Resize(32)]), "Resize", "before the step that makes a tensor"),
        (v2.Compose([v2.ToImage(), v2.Resize(32)]), "Resize", "before the step that makes a tensor"),
        (v1.Compose([TENSOR, v1.Grayscale()]), "Grayscale", "before"),
        (v1.Compose([v1.CenterCrop(32), v1.Resize(16), TENSOR]), "Resize", "one Resize, then one CenterCrop"),
        (v1.Compose([v1.Resize(32), v1.Resize(16), TENSOR]), "Resize", "one Resize"),
        (v1.Compose([v1.Resize((32, 16)), TENSOR]), "resize", "square"),
        (v1.Compose([v1.CenterCrop((32, 16)), TENSOR]), "CenterCrop", "square"),
        (v1.Compose([v1.Resize(32, max_size=64), TENSOR]), "Resize", "max_size"),
        (v1.Compose([v1.Resize(32)]), "Compose", "ToTensor"),
        (v1.Compose([v1.PILToTensor()]), "Compose", "ToTensor"),
        (v1.Compose([TENSOR, v1.Normalize(MEAN, STD), v1.Normalize(MEAN, STD)]), "Normalize", "give one"),
        (v1.Compose([v1.PILToTensor(), v1.Normalize(MEAN, STD)]), "Normalize", "after what makes numbers"),
        (v1.Compose([TENSOR, v1.Normalize(MEAN, (0.2, 0.2, 1e-9))]), "std", "each channel"),
        (v1.Compose([TENSOR, v1.Normalize((5.0, 0.0, 0.0), STD)]), "mean", "each channel"),
        (v1.Compose([TENSOR, v1.ConvertImageDtype(torch.float16)]), "ConvertImageDtype", "float32"),
        (ResNet18_Weights.DEFAULT.transforms, "partial", "call it"),
        (None, "NoneType", "Preprocessing of your own"),
        (lambda image: image, "function", "Preprocessing of your own"),
    ],
)  # fmt: skip
def test_what_cannot_be_told_is_named(transform, named, remedy):
    with pytest.raises(InputError) as raised:
        preprocessing_of(transform)
    assert named in f"{raised.value.field}={raised.value.value}"
    assert remedy in str(raised.value)


def test_channels_of_the_network_decide_where_the_transform_says_nothing():
    grey = v1.Compose([v1.Resize((28, 28)), v1.ToTensor(), v1.Normalize((0.13,), (0.31,))])
    assert (preprocessing_of(grey, 1).channels, preprocessing_of(grey, 1).mean) == ("L", (0.13,))
    assert preprocessing_of(grey).mean == (0.13, 0.13, 0.13)
    with pytest.raises(InputError, match="takes 3"):
        preprocessing_of(v1.Compose([v1.Grayscale(), TENSOR]), 3)


GOOD = Preprocessing(40, crop=32, mean=MEAN, std=STD).stored()


@pytest.mark.parametrize(
    "change",
    [
        {"resize": 0}, {"resize": 4097}, {"resize": True}, {"resize": 40.0}, {"resize": "40"}, {"resize": [40]},
        {"resize": [40, 40, 40]}, {"resize": [40, True]}, {"resize": [[40], 40]}, {"resize": [40, 30], "crop": None},
        {"crop": -1}, {"crop": [32, 32]}, {"interpolation": "quintic"}, {"interpolation": ["bilinear"]},
        {"interpolation": {}}, {"mean": [0.5, 0.5]}, {"mean": [0.5, 0.5, 1.5]}, {"mean": [0.5, 0.5, -0.1]},
        {"mean": [0.5, 0.5, True]}, {"mean": "0.5"}, {"mean": None}, {"std": [0.2, 0.2, 0.0]}, {"std": None},
        {"std": [0.2, 0.2, float("nan")]}, {"std": [0.2, 0.2, 2]}, {"channels": "L"}, {"channels": "CMYK"},
        {"channels": ["RGB"]}, {"channels": {}}, {"grey_resized": 1}, {"as_stored": "no"},
        {"run": "rm"}, {"mean": [[0.5]] * 3},
    ],
)  # fmt: skip
def test_hostile_forms_are_refused_in_a_line(change):
    with pytest.raises(InputError, match=r"^preprocessing[^\n]*$"):
        Preprocessing.from_stored(GOOD | change)


@pytest.mark.parametrize("found", [None, [], "RGB", {}, {**GOOD, "crop": 32, "more": 1}])
def test_what_is_no_preprocessing_is_refused(found):
    with pytest.raises(InputError, match="is no mapping"):
        Preprocessing.from_stored(found)


def test_pictures_that_give_another_size_are_refused():
    with pytest.raises(InputError, match="gives 40 x 64 pixels, not 40 x 40"):
        Preprocessing(40).pixels(picture(50, 80))
    with pytest.raises(InputError, match="gives 32 x 32 pixels, not 28 x 28"):
        Preprocessing(40, crop=32).pixels(picture(), 28)
    with pytest.raises(InputError, match="more than"):
        Preprocessing(4096, crop=32).pixels(Image.new("RGB", (2000, 1)))


def test_the_page_on_data_says_what_is_so():
    page = (Path(__file__).parents[2] / "docs" / "data.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    names = {}
    exec(compile(code, "data.md", "exec"), names)
    preset = names["ResNet18_Weights"].DEFAULT.transforms()
    assert names["how"].mean == pytest.approx(preset.mean)
    assert names["how"].std == pytest.approx(preset.std)
