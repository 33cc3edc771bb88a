"""A real server of the Open Inference Protocol v2, with a model as it is exported."""

import json
import urllib.request

import numpy as np
import onnxruntime
import pytest
import torch

from ipr.cli.jobs import errors_as_lines
from ipr.config.schema import EndpointConfig
from ipr.data.images import normalise
from ipr.suspects.served.endpoint import open_black_box
from served import serving_onnx

pytestmark = pytest.mark.system

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)


@pytest.fixture(scope="module")
def exported(network, tmp_path_factory):
    path = tmp_path_factory.mktemp("exported") / "net.onnx"
    batch = torch.export.Dim("batch")
    torch.onnx.export(
        network, (torch.zeros(2, 3, 8, 8),), path, input_names=["images"], output_names=["scores"],
        dynamic_shapes=({0: batch},), verbose=False, external_data=False,
    )  # fmt: skip
    return path


@pytest.fixture(scope="module")
def url(mlserver, exported, tmp_path_factory):
    with serving_onnx(mlserver, exported, "net", tmp_path_factory.mktemp("serving")) as started:
        yield started


def test_it_says_what_it_takes(url):
    with urllib.request.urlopen(url, timeout=30) as answer:
        told = json.load(answer)
    assert told["inputs"] == [{"name": "images", "datatype": "FP32", "shape": [-1, 3, 8, 8]}]
    assert told["outputs"] == [{"name": "scores", "datatype": "FP32", "shape": [-1, 10]}]


@pytest.mark.parametrize("batch_size", [1, 32])
def test_the_answers_are_those_of_onnxruntime_and_of_the_network(batch_size, url, exported, pixels, own_answers):
    suspect = open_black_box(url, EndpointConfig(batch_size=batch_size), 10)
    found = suspect.answers(pixels, MEAN, STD)
    session = onnxruntime.InferenceSession(exported, providers=["CPUExecutionProvider"])
    (scores,) = session.run(None, {"images": normalise(pixels, MEAN, STD).contiguous().numpy()})
    np.testing.assert_array_equal(found.numpy(), scores.argmax(1))
    assert torch.equal(found, own_answers)
    assert suspect.queries == 40


@pytest.mark.parametrize(
    ("model", "size", "expected"),
    [
        ("other", 8, "answers with status 404: Model other not found"),
        ("net", 16, "takes [-1, 3, 8, 8], not images [32, 3, 16, 16]"),
    ],
)
def test_what_it_cannot_answer_is_one_line(model, size, expected, url, pixels, capsys):
    codes = []
    with errors_as_lines(codes, []):
        suspect = open_black_box(url.replace("/net", f"/{model}"), EndpointConfig(), 10)
        suspect.answers(pixels[:, :1, :1].expand(-1, size, size, -1) + pixels[:, :1, :1], MEAN, STD)
    assert codes == [2]
    (line,) = capsys.readouterr().err.splitlines()
    assert expected in line
