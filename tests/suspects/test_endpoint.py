"""A suspect behind an address: what is sent, how it waits, what it keeps to itself."""

import json
import subprocess

import pytest
import torch

from inference_server import FakeClock, answer, metadata, serving
from ipr.config.schema import EndpointConfig
from ipr.errors import InputError
from ipr.suspects.served.black_box import BlackBox
from ipr.suspects.served.endpoint import TOKEN, Endpoint, open_black_box

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)


def later(status, **headers):
    """An answer that puts the question off."""
    return lambda handler, asked: handler.reply(
        status, {"error": "busy"}, {k.replace("_", "-"): v for k, v in headers.items()}
    )


def changed(**output):
    """The right answer but for some keys of its output."""

    def reply(handler, asked):
        told = answer(handler.server, asked)
        told["outputs"][0] |= output
        handler.reply(200, told)

    return reply


@pytest.mark.parametrize("path", ["", "/", "/infer", "/versions/3", "/versions/3/infer"])
def test_the_answers_are_the_networks_own(path, server, pixels, own_answers):
    suspect = open_black_box(server.url + path, EndpointConfig(batch_size=16), 10)
    assert torch.equal(suspect.answers(pixels, MEAN, STD), own_answers)
    assert server.sizes == [16, 16, 8]
    version = "/versions/3" if "3" in path else ""
    assert server.paths == [f"/v2/models/net{version}"]  # asked once
    assert all("Authorization" not in headers for headers in server.headers)
    assert {headers["Accept-Encoding"] for headers in server.headers} == {"identity"}


def test_outputs_of_many_forms(server, pixels, own_answers, ask):
    def classes(datatype, column, nested=False):
        def reply(handler, asked):
            told = answer(handler.server, asked)["outputs"][0]
            found = torch.tensor(told["data"]).view(told["shape"]).argmax(1)
            found = found[:, None] if column else found
            data = found.tolist() if nested else found.ravel().tolist()
            output = {"name": "class", "shape": list(found.shape), "datatype": datatype, "data": data}
            handler.reply(200, {"outputs": [{"name": "scores", "shape": [1], "datatype": "FP32", "data": [0]}, output]})

        return reply

    def nested(handler, asked):
        told = answer(handler.server, asked)
        output = told["outputs"][0]
        output["data"] = torch.tensor(output["data"], dtype=torch.float64).view(output["shape"]).tolist()
        handler.reply(200, told)

    server.instead = [classes("INT64", False), classes("UINT8", True), classes("INT32", True, nested=True)]
    chosen = BlackBox(Endpoint(server.url, output="class"), 10, batch_size=16)
    assert torch.equal(chosen.answers(pixels, MEAN, STD), own_answers)
    server.instead = [nested, changed(datatype="FP64"), changed(datatype="FP16")]
    assert torch.equal(BlackBox(Endpoint(server.url), 10, batch_size=16).answers(pixels, MEAN, STD), own_answers)


def test_inputs_are_found_by_the_models_own_words(server, pixels, own_answers):
    def described(**change):
        return lambda handler: handler.reply(200, metadata(server) | change)

    images = {"name": "images", "datatype": "FP32", "shape": [-1, 3, -1, -1]}
    for inputs, wanted in (([images], None), ([{"name": "other"}, images], "images"), (None, "images")):
        server.on_get = described(inputs=inputs)
        asked = EndpointConfig(input=wanted)
        assert torch.equal(open_black_box(server.url, asked, 10).answers(pixels, MEAN, STD), own_answers)
    server.on_get = described(inputs=[images | {"shape": [1, 3, 8, 8]}])
    with pytest.raises(InputError, match=r"takes \[1, 3, 8, 8\].*endpoint.batch_size=1$"):
        open_black_box(server.url, EndpointConfig(), 10).answers(pixels, MEAN, STD)
    one_by_one = open_black_box(server.url, EndpointConfig(batch_size=1), 10)
    assert torch.equal(one_by_one.answers(pixels[:3], MEAN, STD), own_answers[:3])


def test_it_waits_as_long_as_it_is_asked_to_and_no_longer_than_a_minute(server, pixels, own_answers):
    clock = FakeClock()
    server.instead = [
        later(503, Retry_After="7"), later(429, retry_after="Fri, 31 Dec 2100 23:59:59 GMT"),
        later(429, Retry_After="9" * 5000), later(504, Retry_After="soon"), later(502, Retry_After="0"),
    ]  # fmt: skip
    suspect = BlackBox(Endpoint(server.url, retries=5, clock=clock), 10)
    assert torch.equal(suspect.answers(pixels[:4], MEAN, STD), own_answers[:4])
    assert clock.waits == [7, 60, 2, 4, 0]
    assert (server.sizes, suspect.queries) == ([4] * 6, 4)


def test_it_gives_up_and_goes_on_later(server, pixels, own_answers, tmp_path):
    clock = FakeClock()
    endpoint = Endpoint(server.url, retries=3, clock=clock)
    server.instead = [
        answered := server.on_post, lambda handler, asked: handler.raw(b""), answered, *[later(503)] * 4,
    ]  # fmt: skip
    kept = tmp_path / "kept"
    with pytest.raises(InputError, match="answers with status 503: busy; see"):
        BlackBox(endpoint, 10, name="net", batch_size=8, answers=kept).answers(pixels, MEAN, STD)
    assert server.sizes == [8] * 7
    assert clock.waits == [0.5, 0.5, 1, 2]
    suspect = BlackBox(endpoint, 10, name="net", batch_size=8, answers=kept)
    assert torch.equal(suspect.answers(pixels, MEAN, STD), own_answers)
    assert server.sizes[7:] == [8] * 3
    assert suspect.queries == 24


def test_requests_keep_their_distance(server, pixels):
    clock = FakeClock()
    server.instead = [later(503, Retry_After="0")]
    BlackBox(Endpoint(server.url, rate=4, clock=clock), 10, batch_size=16).answers(pixels, MEAN, STD)
    assert clock.waits == [
        0.25,
        0,
        0.25,
        0.25,
        0.25,
    ]  # before every request but the first, the model's own words included


def test_a_token_is_sent_and_never_shown(server, pixels, monkeypatch):
    monkeypatch.setenv(TOKEN, "s3cret-token")
    server.instead = [later(403)]
    endpoint = Endpoint(server.url)
    with pytest.raises(InputError, match="status 403: busy") as refused:
        BlackBox(endpoint, 10, name=endpoint.identity).answers(pixels, MEAN, STD)
    assert server.headers[0]["Authorization"] == "Bearer s3cret-token"
    assert "s3cret" not in str(refused.value) + endpoint.identity
    for wrong in ("two words", "line\r\nX-Other: 1", "umlaut-\u00e4"):
        monkeypatch.setenv(TOKEN, wrong)
        with pytest.raises(InputError, match=f"{TOKEN}=<secret>") as refused:
            Endpoint(server.url)
        assert wrong not in str(refused.value)


@pytest.mark.parametrize(
    "url",
    [
        "127.0.0.1:8080/v2/models/net", "file:///v2/models/net", "ftp://host/v2/models/net", "http:///v2/models/net",
        "http://host/v1/models/net", "http://host/v2/models", "http://host/v2/models/net/ready", "http://host/",
        "http://host/v2/models/net?a=b", "http://host/v2/models/net#a", "http://host:99999/v2/models/net", "http://[",
        "http://host/v2/models/net/versions/", "", "http://host/v2/models//infer",
    ],
)  # fmt: skip
def test_an_address_that_is_none(url):
    with pytest.raises(InputError, match=r"^suspect=.*give http"):
        Endpoint(url)


def test_an_address_with_a_password_is_refused_and_not_repeated():
    with pytest.raises(InputError, match=f"an address with a password.*{TOKEN}") as refused:
        Endpoint("https://me:hush@host/v2/models/net")
    assert "hush" not in str(refused.value)


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"timeout": 0}, "timeout"), ({"timeout": float("nan")}, "timeout"), ({"timeout": float("inf")}, "timeout"),
        ({"retries": -1}, "retries"), ({"rate": 0}, "rate"), ({"rate": float("inf")}, "rate"),
    ],
)  # fmt: skip
def test_settings_that_cannot_be(settings, field):
    with pytest.raises(InputError, match=f"^{field}="):
        Endpoint("http://host/v2/models/net", **settings)


def test_tls_with_a_certificate_that_is_trusted_and_one_that_is_not(ask, pixels, own_answers, tmp_path, monkeypatch):
    import ssl

    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    files = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", "key.pem", "-out", "certificate.pem"]
    try:
        subprocess.run([*made, *files], check=True, capture_output=True, cwd=tmp_path)
    except FileNotFoundError:
        pytest.skip("there is no openssl to make a certificate with")
    with serving(ask, [-1, 3, 8, 8]) as server:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tmp_path / "certificate.pem", tmp_path / "key.pem")
        server.socket = context.wrap_socket(server.socket, server_side=True)
        url = server.url.replace("http:", "https:")
        with pytest.raises(InputError, match="no connection that this machine trusts"):
            BlackBox(Endpoint(url, clock=FakeClock()), 10).answers(pixels, MEAN, STD)
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "certificate.pem"))
        assert torch.equal(BlackBox(Endpoint(url), 10).answers(pixels, MEAN, STD), own_answers)
        assert server.sizes == [32, 8]


def test_what_is_sent_is_the_protocols(server, pixels):
    seen = []

    def note(handler, asked):
        seen.append(asked)
        server.on_post(handler, asked)

    server.instead = [note]
    BlackBox(Endpoint(server.url), 10).answers(pixels[:2], MEAN, STD)
    (sent,) = seen
    assert [*sent] == ["inputs"]
    (tensor,) = sent["inputs"]
    assert {key: tensor[key] for key in ("name", "shape", "datatype")} == {
        "name": "images", "shape": [2, 3, 8, 8], "datatype": "FP32",
    }  # fmt: skip
    assert len(tensor["data"]) == 2 * 3 * 8 * 8
    assert tensor["data"][0] == pytest.approx((pixels[0, 0, 0, 0].item() / 255 - MEAN[0]) / STD[0], abs=1e-5)
    assert server.headers[0]["Content-Type"] == "application/json"
    assert json.dumps(sent)
