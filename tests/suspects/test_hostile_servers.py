"""Servers that lie, stall, flood or refuse: one line each, in bounded time and memory, and nothing is kept."""

import gzip
import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from inference_server import FakeClock, answer, metadata, serving
from ipr.cli.jobs import errors_as_lines
from ipr.errors import InputError
from ipr.suspects.served.black_box import BlackBox
from ipr.suspects.served.endpoint import Endpoint
from ipr.suspects.served.protocol import model_input, output_tensor
from ipr.suspects.served.server import MAX_BYTES

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
OK = b"HTTP/1.1 200 OK\r\n"


def says(body, status=200, **headers):
    named = {key.replace("_", "-"): value for key, value in headers.items()}
    return lambda handler, asked=None: handler.reply(status, body, named)


def raw(content):
    return lambda handler, asked=None: handler.raw(content)


def drips(start, byte=b" "):
    def reply(handler, asked=None):
        handler.wfile.write(start)
        handler.drip(byte)

    return reply


def hangs(handler, asked=None):
    handler.server.closing.wait(30)
    handler.close_connection = True


def floods(start, piece):
    """Sends without end, until the client has had enough."""

    def reply(handler, asked=None):
        handler.close_connection = True
        handler.wfile.write(start)
        while not handler.server.closing.is_set():
            handler.wfile.write(piece)

    return reply


def whole(**change):
    """The right answer but for some keys."""
    return lambda handler, asked: handler.reply(200, answer(handler.server, asked) | change)


def output(**change):
    """The right answer but for some keys of its output."""

    def reply(handler, asked):
        told = answer(handler.server, asked)
        told["outputs"][0] |= change
        handler.reply(200, told)

    return reply


def classes(of, datatype="INT64"):
    """An answer of classes, of which there should be 40 from 0 to 9."""
    return output(shape=[len(of)], datatype=datatype, data=of)


bomb = gzip.compress(bytes(4 * MAX_BYTES))
ten = [[0.0] * 10] * 40
POSTS = {
    "closes": (raw(b""), "broke off"),
    "closes in the headers": (raw(OK + b"Content-Le"), "broke off|not JSON"),
    "closes in the body": (raw(OK + b"Content-Length: 50\r\n\r\n{"), "broke off"),
    "no HTTP": (raw(b"SSH-2.0-OpenSSH_9.6\r\n"), "broke off, or does not speak HTTP"),
    "wrong chunks": (raw(OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n"), "broke off"),
    "negative chunk": (raw(OK + b"Transfer-Encoding: chunked\r\n\r\n-9\r\n{}\r\n"), "broke off"),
    "chunk to the end": (floods(OK + b"Transfer-Encoding: chunked\r\n\r\n-1\r\n", b"x" * 65536), "broke off"),
    "wrong length": (raw(OK + b"Content-Length: 5, 7\r\n\r\n{}"), "broke off"),
    "hangs": (hangs, "not there, whole, after 0.3 seconds"),
    "drips its body": (drips(OK + b"Content-Length: 1000000\r\n\r\n"), "not there, whole"),
    "drips its headers": (drips(OK + b"X-Long: ", b"a"), "not there, whole"),
    "continues for ever": (floods(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 100), "broke off|not there, whole"),
    "floods": (floods(OK + b"\r\n", b"[" * 65536), f"longer than {MAX_BYTES} bytes"),
    "says it is huge": (floods(OK + b"Content-Length: 99999999999\r\n\r\n", b"1," * 32768), "longer than"),
    "endless header": (floods(OK + b"X-Long: ", b"a" * 65536), "broke off"),
    "headers without end": (floods(OK, b"X-More: 1\r\n" * 1000), "broke off"),
    "gzip bomb": (says(bomb, Content_Encoding="gzip"), "compressed"),
    "500 with HTML": (
        says(b"<html>\x1b[31m\x00Internal\r\nServer\x07 Error</html>" + b"a" * 500, 500),
        r"status 500: <html> \[31m Internal Server Error</html>a{50,60};",
    ),
    "control characters": (
        says({"error": "\x1b]0;title\x07\u202eevil\nline\u2028"}, 400),
        r"status 400: \]0;title evil line;",
    ),
    "404": (says({"error": "Model net not found"}, 404), "status 404: Model net not found"),
    "204": (says(b"", 204), "status 204"),
    "busy for ever": (says({"error": "busy"}, 429, Retry_After="1"), "status 429: busy"),
    "redirect": (says(b"", 307, Location="http://127.0.0.1:9/v2/models/net/infer"), "status 307: it sends elsewhere"),
    "redirect to a file": (says(b"", 302, Location="file:///dev/zero"), "status 302: it sends elsewhere"),
    "nothing": (says(b""), "not JSON"),
    "not JSON": (says(b"hello"), "not JSON"),
    "not text": (says(b"\xff\xfe\x00{"), "not JSON"),
    "nested too deep": (says(b"[" * 100_000), "not JSON"),
    "a number without end": (says(b'{"outputs": [' + b"9" * 10_000 + b"]}"), "not JSON"),
    "a list": (says(b"[1]"), "no outputs"),
    "no outputs": (whole(outputs=None), "no outputs"),
    "empty outputs": (whole(outputs=[]), "has 0 outputs"),
    "outputs of nothing": (whole(outputs=[1, None, "a"]), "has 0 outputs"),
    "two outputs": (whole(outputs=[{"name": "a\x1b"}, {"name": "b"}]), "2 outputs: a, b; give endpoint.output=NAME"),
    "another model": (whole(model_name="cheap\r\n"), "model_name cheap answers instead of net"),
    "wrong shape": (output(shape=[40, 11]), r"400 numbers for a shape of \[40, 11\]"),
    "shape lies": (output(shape=[40, 10**30]), "400 numbers for a shape"),
    "negative shape": (output(shape=[-40, -10]), "has shape"),
    "shape of floats": (output(shape=[40.0, 10]), "has shape"),
    "shape without end": (output(shape=[1] * 10_000), "has shape"),
    "no shape": (output(shape="40"), "has shape 40"),
    "no data": (output(data=None), "not numbers"),
    "binary data left out": (output(data=None, parameters={"binary_data_size": 1600}), "not numbers"),
    "data of a wrong depth": (output(data=[ten]), r"400 numbers for a shape of \[40, 10\]"),
    "ragged data": (output(data=[*ten[1:], [0.0]]), "not numbers"),
    "transposed data": (output(data=np.zeros((10, 40)).tolist()), "400 numbers for a shape"),
    "NaN": (output(data=[float("nan")] * 400), "NaN or infinity"),
    "infinity": (output(data=[1e308 * 10] * 400), "NaN or infinity"),
    "null": (output(data=[None] * 400), "not numbers"),
    "strings": (output(data=["1"] * 400), "not numbers"),
    "truth values": (output(data=[True] * 400, datatype="BOOL"), "datatype BOOL"),
    "objects": (output(data=[{}] * 400), "not numbers"),
    "bytes": (output(datatype="BYTES", data=["cat"] * 40, shape=[40]), "datatype BYTES"),
    "no datatype": (output(datatype=["FP32"]), "datatype"),
    "fractions as classes": (classes([0.5] * 40), "not numbers of datatype INT64"),
    "class too large": (classes([10] * 40), "class 10, where there are 10"),
    "class far too large": (classes([10**40] * 40), "not numbers"),
    "class below 0": (classes([-1] * 40), "class -1"),
    "too few rows": (output(shape=[39, 10], data=[0.0] * 390), r"shape \(39, 10\), to 40 images"),
    "too many classes": (output(shape=[40, 11], data=[0.0] * 440), r"shape \(40, 11\)"),
    "a single number": (output(shape=[], data=[0.0]), r"shape \(\)"),
}  # fmt: skip


def takes(**change):
    """The right metadata but for some keys of its input."""

    def reply(handler):
        told = metadata(handler.server)
        told["inputs"][0] |= change
        handler.reply(200, told)

    return reply


def declares(inputs):
    return lambda handler: handler.reply(200, metadata(handler.server) | {"inputs": inputs})


GETS = {
    "closes": (raw(b""), "broke off"),
    "404": (says({"error": "Model net not found"}, 404), "status 404: Model net not found"),
    "not JSON": (says(b"<html>"), "not JSON"),
    "a list": (says(b"[]"), "does not say what it takes; give endpoint.input"),
    "no inputs": (declares([]), "does not say what it takes"),
    "inputs of nothing": (declares([1]), "does not list inputs by name"),
    "a name that is none": (takes(name=["images"]), "does not list inputs by name"),
    "two inputs": (declares([{"name": "a"}, {"name": "b\x1b[1m"}]), r"2 inputs: a, b \[1m; give endpoint.input=NAME"),
    "wrong datatype": (takes(datatype="UINT8\n"), "takes UINT8; serve"),
    "no datatype": (takes(datatype=None), "takes None"),
    "wrong rank": (takes(shape=[-1, 192]), r"has shape \[-1, 192\]"),
    "wrong size": (takes(shape=[-1, 3, 16, 16]), r"takes \[-1, 3, 16, 16\], not images \[40, 3, 8, 8\]"),
    "channels last": (takes(shape=[-1, 8, 8, 3]), "channels first"),
    "a batch of one": (takes(shape=[1, 3, 8, 8]), "endpoint.batch_size=1"),
    "shape of text": (takes(shape=["-1", "3", "8", "8"]), "has shape"),
    "shape of truth": (takes(shape=[True, 3, 8, 8]), "has shape"),
    "no shape": (takes(shape=None), "has shape None"),
}


@pytest.fixture(scope="module")
def hostile():
    with serving(lambda images: np.zeros((len(images), 10), np.float32), [-1, 3, 8, 8]) as started:
        yield started


def one_line_from(server, pixels, place, capsys):
    """Asks, as a command does; what is then on stderr."""
    codes, lines = [], []
    endpoint = Endpoint(server.url, timeout=0.3, retries=1, clock=FakeClock())
    suspect = BlackBox(endpoint, 10, name=endpoint.identity, batch_size=40, answers=place)
    with errors_as_lines(codes, lines):
        suspect.answers(pixels, MEAN, STD)
    told = capsys.readouterr().err
    assert codes == [2], told
    (line,) = told.splitlines()
    assert line.isprintable()
    assert line.startswith(f"ipr: error: suspect={server.url}: ")
    assert len(line) < 400
    assert [*place.iterdir()] == []
    return line


@pytest.mark.parametrize("case", POSTS)
def test_a_wrong_answer_is_one_line(case, hostile, pixels, tmp_path, capsys):
    hostile.on_get, (hostile.on_post, expected) = takes(), POSTS[case]
    assert_matches(expected, one_line_from(hostile, pixels, tmp_path / "kept", capsys))


@pytest.mark.parametrize("case", GETS)
def test_wrong_metadata_is_one_line_and_no_image_is_sent(case, hostile, pixels, tmp_path, capsys):
    hostile.on_get, expected = GETS[case]
    hostile.sizes.clear()
    assert_matches(expected, one_line_from(hostile, pixels, tmp_path / "kept", capsys))
    assert hostile.sizes == []


def assert_matches(expected, line):
    with pytest.raises(InputError, match=expected):
        raise InputError("line", line, "", "")


def test_where_nobody_listens(pixels, tmp_path, capsys):
    from wandb_server import closed_port

    class Nobody:
        url = f"{closed_port()}/v2/models/net"

    assert "cannot be reached" in one_line_from(Nobody, pixels, tmp_path / "kept", capsys)


def test_tls_where_there_is_none(hostile, pixels, tmp_path, capsys):
    class Plain:
        url = hostile.url.replace("http:", "https:")

    assert "(TLS)" in one_line_from(Plain, pixels, tmp_path / "kept", capsys)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just("FP32") | st.just("INT64"),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["outputs", "inputs", "name", "shape", "datatype", "data", "model_name"]), inner, max_size=5
        )
    ),
    max_leaves=20,
)


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(
    told=JSON, shape=st.lists(st.integers(0, 3), max_size=3) | JSON, data=JSON, kind=st.sampled_from(["FP32", "INT64"])
)
def test_whatever_json_comes_is_refused_or_finite_numbers(told, shape, data, kind):
    tensor = {"name": "scores", "shape": shape, "datatype": kind, "data": data}
    refusals = []
    for said in (told, {"outputs": [tensor]}, {"outputs": told}):
        try:
            found = output_tensor(said, None, "net", None, "there")
            assert found.dtype.kind in "iuf"
            assert np.isfinite(found).all()
        except InputError as refused:
            refusals.append(str(refused))
    for said in (told, {"inputs": [tensor]}, {"inputs": told}):
        try:
            assert len(model_input(said, None, "there").shape) == 4
        except InputError as refused:
            refusals.append(str(refused))
    assert all(refusal.isprintable() for refusal in refusals)


def test_whatever_bytes_come_instead_of_an_answer(hostile):
    """A right answer with a piece of it overwritten, left out or doubled."""
    body = json.dumps({"outputs": [{"name": "s", "shape": [1, 10], "datatype": "FP32", "data": [0.5] * 10}]}).encode()
    plain = OK + b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    chunked = OK + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    hostile.on_get, image = takes(), torch.zeros(1, 8, 8, 3, dtype=torch.uint8)
    endpoint = Endpoint(hostile.url, timeout=2, retries=0, clock=FakeClock())
    classes, refusals = [], []

    @settings(max_examples=150, deadline=None, derandomize=True, database=None)
    @given(st.sampled_from([plain, chunked]), st.integers(0, 250), st.integers(0, 40), st.binary(max_size=20))
    def ask(content, start, length, piece):
        hostile.on_post = raw(content[:start] + piece + content[start + length :])
        try:
            classes.append(int(BlackBox(endpoint, 10).answers(image, MEAN, STD)))
        except InputError as refused:
            refusals.append(str(refused))

    ask()
    assert {*classes} <= {*range(10)}
    assert all(refusal.isprintable() for refusal in refusals)
    assert classes
    assert refusals
